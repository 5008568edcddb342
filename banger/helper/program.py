"""Programs that the helper runs: found where nobody but root writes, bounded in time, with nothing of the caller's."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from banger.errors import HostError

#: Where programs are looked for, in this order.
_FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")


def run_program(
    name: str, arguments: Sequence[str], *, text: str = "", seconds: float, package: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; what it printed and its status are the caller's to judge.

    :param text: its standard input. :param seconds: how long it may take.
    :param package: what Debian calls the package it is in.
    :raises HostError: it is not installed, cannot be started, or did not end in time.
    """
    places = [f"{folder}/{name}" for folder in _FOLDERS]
    program = next((path for path in places if os.access(path, os.X_OK)), None)
    if program is None:
        raise HostError(f"{name} is not installed", hint=f"sudo apt install {package}")
    try:
        return subprocess.run(
            [program, *arguments],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env={"PATH": ":".join(_FOLDERS), "LANG": "C.UTF-8"},
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{name} did not end within {seconds:.0f} s", hint="see: banger doctor") from error
    except OSError as error:
        raise HostError(
            f"{name} could not be started: {error.strerror}", hint="see: banger doctor"
        ) from error


def needs_loader(path: Path) -> bool:
    """Tell whether a program is linked dynamically: it names a loader (PT_INTERP, elf(5)), and has to find it there."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if len(head) < 64 or head[:5] != b"\x7fELF\2":
                return False
            start, size, count = struct.unpack("<32xQ14xHH6x", head)
            file.seek(start)
            return any(file.read(size)[:4] == b"\3\0\0\0" for _ in range(count))
    except (OSError, OverflowError) as error:
        raise HostError(f"{path} cannot be read: {error}", hint="see: banger doctor") from error


def first_line(text: str) -> str:
    """Return the first line of a program's complaint that says something, at most 200 characters of it."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0][:200] if lines else "it says nothing"
