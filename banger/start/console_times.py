"""When what a guest or a VMM printed was printed: beside its file, how long that was at which time.

Nobody who writes these files writes times, so the daemon looks every few seconds and notes ``<seconds since 1970>
<bytes>``. What was printed since a time is found to within that: a little more may be shown, never less.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

#: Bytes that the notes of one file may have; then every other one goes, the oldest first.
_LIMIT = 64 * 1024


def times_of(file: Path) -> Path:
    """Return where the notes of a file are."""
    return file.with_name(f"{file.name}.times")


def note_size(file: Path, now: float | None = None) -> None:
    """Note how long a file is, where that changed; one that was begun anew, or is gone, has its notes begun anew.

    :param now: seconds since 1970.
    """
    with contextlib.suppress(OSError):
        notes, size = _read(file), file.stat().st_size
        if notes and notes[-1][1] == size:
            return
        if notes and size < notes[-1][1]:
            notes = [(notes[-1][0], 0)]
            _write(file, notes)
        with open(
            os.open(times_of(file), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "a"
        ) as out:
            out.write(f"{time.time() if now is None else now:.0f} {size}\n")
            long = out.tell() > _LIMIT
        if long:
            notes = _read(file)
            half = len(notes) // 2
            _write(file, notes[:half:2] + notes[half:])


def shift_sizes(file: Path, removed: int) -> None:
    """Note that a file lost its first bytes."""
    with contextlib.suppress(OSError):
        _write(file, [(at, max(0, size - removed)) for at, size in _read(file)])


def forget_sizes(file: Path) -> None:
    """Forget what was noted of a file that is about to be begun anew."""
    times_of(file).unlink(missing_ok=True)


def offset_since(file: Path, since: float) -> int:
    """Return the byte from which on a file has what was printed since a time, seconds since 1970."""
    return next((size for at, size in reversed(_read(file)) if at <= since), 0)


def _read(file: Path) -> list[tuple[float, int]]:
    try:
        lines = times_of(file).read_text(encoding="ascii", errors="replace").splitlines()
        return [(float(at), int(size)) for at, size in (line.split() for line in lines)]
    except (OSError, ValueError):  # a note cut off by a full disk: all is shown
        return []


def _write(file: Path, notes: list[tuple[float, int]]) -> None:
    new = times_of(file).with_suffix(".new")
    new.write_text("".join(f"{at:.0f} {size}\n" for at, size in notes), encoding="ascii")
    new.chmod(0o600)
    new.replace(times_of(file))
