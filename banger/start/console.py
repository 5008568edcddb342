"""What a guest's console says about why it ended."""

from __future__ import annotations

from pathlib import Path

#: Bytes of the console that an error looks at.
_TAIL = 16384


def last_words(console: Path) -> str:
    """Return the line of a console most likely to say why the guest ended, cleaned and cut, or nothing."""
    try:
        with open(console, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    lines = ["".join(char for char in line if char.isprintable()).strip() for line in lines]
    for mark in ("banger-agent: ", "Kernel panic", "qemu-system"):
        found = [line for line in lines if mark in line]
        if found:
            return found[-1][-300:]
    return next((line[-300:] for line in reversed(lines) if line), "")
