"""What a guest's console says about why it ended."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

#: Bytes of the console that an error looks at.
_TAIL = 16384
#: Stands in the console before each start. A guest that prints it hides only its own words.
_START = "--- banger: start "


def mark_start(console: Path) -> None:
    """Write into the console that a start begins: what stands before is no longer about this one."""
    now = datetime.now().astimezone().isoformat(" ", "seconds")
    with open(os.open(console, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as file:
        file.write(f"{_START}{now} ---\n".encode())


def last_words(console: Path) -> str:
    """Return the line most likely to say why a guest ended, cleaned and cut, or nothing.

    A VMM that ended before its guest said a word may have said why in its own log, which lies beside the console.
    """
    logs = (log for log in sorted(console.parent.glob("*.log")) if log != console)
    return next(filter(None, map(_last_line, (console, *logs))), "")


def _last_line(file: Path) -> str:
    try:
        with open(file, "rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - _TAIL))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    starts = [number for number, line in enumerate(lines) if line.startswith(_START)]
    lines = lines[starts[-1] + 1 :] if starts else lines
    lines = ["".join(char for char in line if char.isprintable()).strip() for line in lines]
    for mark in ("banger-agent: ", "Kernel panic", "qemu-system"):
        found = [line for line in lines if mark in line]
        if found:
            return found[-1][-300:]
    return next((line[-300:] for line in reversed(lines) if line), "")
