"""What changed in the guest, as a patch: for people to read, or for a file."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from banger.api import HostError, clean, green, red, say
from banger_workspace.changed import ChangedFiles

if TYPE_CHECKING:
    from banger_workspace.guest import Guest


#: Bytes of a line that a terminal gets at once.
_LINE = 65536


def write_patch(guest: Guest, base: str, output: str | None, limit: int) -> list[tuple[str, str]]:
    """Write the patch to a file, there whole or not at all, or to standard output; return the changed files."""
    if output is None:
        return show_patch(guest, base, "patch", limit)
    folder = os.path.dirname(os.path.abspath(output))
    try:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".banger-")
    except OSError as error:
        raise HostError(
            f"{output} cannot be written: {error.strerror}", hint="choose another --output"
        ) from None
    try:
        with open(descriptor, "wb") as file:
            files = _read(guest, base, "patch", limit, file.write)
            os.fchmod(descriptor, 0o666 & ~_umask())
        os.replace(name, output)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    return files


def _read(
    guest: Guest, base: str, form: str, limit: int, write: Callable[[bytes], Any]
) -> list[tuple[str, str]]:
    """Let the guest compare once; what comes after the list of changed files is written."""
    changed = ChangedFiles(write)
    guest.ask("changes", base, form, take=changed.feed, limit=limit)
    return changed.files


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def changed_files(guest: Guest, base: str, limit: int) -> list[tuple[str, str]]:
    """Return letter and name of every file that changed; names are cleaned."""
    return _read(guest, base, "names", limit, lambda _: None)


def show_patch(guest: Guest, base: str, form: str, limit: int) -> list[tuple[str, str]]:
    """Print the patch for people: colours are ours, what a guest could do to a terminal is taken out.

    :param form: ``patch`` or ``stat``. :returns: the changed files; none for ``stat``.
    """
    screen = _Screen() if sys.stdout.isatty() else None
    write = screen.write if screen is not None else sys.stdout.buffer.write
    files: list[tuple[str, str]] = []
    if form == "patch":
        files = _read(guest, base, form, limit, write)
    else:
        guest.ask("changes", base, form, take=write, limit=limit)
    if screen is not None:
        screen.end()
    sys.stdout.buffer.flush()
    return files


class _Screen:
    """Lines for a terminal."""

    def __init__(self) -> None:
        self._rest = b""

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            _print_line(line)
        if len(self._rest) > _LINE:
            self.end()

    def end(self) -> None:
        if self._rest:
            _print_line(self._rest)
        self._rest = b""


def _print_line(line: bytes) -> None:
    print(_painted(clean(line.decode(errors="replace").replace("\t", "    "))))


def say_files(files: list[tuple[str, str]]) -> None:
    """Print the list of changed files for people."""
    for letter, name in files[:200]:
        say(f"{letter} {name}")
    if len(files) > 200:
        say(f"… and {len(files) - 200} more")


def _painted(line: str) -> str:
    if line.startswith("+"):
        return green(line, sys.stdout)
    return red(line, sys.stdout) if line.startswith("-") else line
