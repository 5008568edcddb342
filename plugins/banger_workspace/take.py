"""What changed in the guest, as a patch: for people to read, or for a file."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from banger.api import HostError, clean, green, red, say

if TYPE_CHECKING:
    from banger_workspace.guest import Guest


#: Bytes of a line that a terminal gets at once.
_LINE = 65536


def write_patch(guest: Guest, base: str, output: str | None, limit: int) -> int:
    """Write the patch to a file, there whole or not at all, or to standard output; return its size in bytes."""
    if output is None and sys.stdout.isatty():
        show_patch(guest, base, "patch", limit)
        return 0
    if output is None:
        size = _counted(guest, base, limit, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return size
    folder = os.path.dirname(os.path.abspath(output))
    try:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".banger-")
    except OSError as error:
        raise HostError(
            f"{output} cannot be written: {error.strerror}", hint="choose another --output"
        ) from None
    try:
        with open(descriptor, "wb") as file:
            size = _counted(guest, base, limit, file.write)
            os.fchmod(descriptor, 0o666 & ~_umask())
        os.replace(name, output)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    return size


def _counted(guest: Guest, base: str, limit: int, write: Callable[[bytes], Any]) -> int:
    size = 0

    def take(data: bytes) -> None:
        nonlocal size
        size += len(data)
        write(data)

    guest.ask("changes", base, "patch", take=take, limit=limit)
    return size


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def changed_files(guest: Guest, base: str, limit: int) -> list[tuple[str, str]]:
    """Return letter and name of every file that changed; names are cleaned."""
    fields = guest.ask("changes", base, "raw", limit=limit).split(b"\0")[:-1]
    names = [_clean(field) for field in fields[1::2]]
    return list(zip((_clean(field)[-1:] for field in fields[::2]), names, strict=False))


def show_patch(guest: Guest, base: str, form: str, limit: int) -> None:
    """Print the patch for people: colours are ours, what a guest could do to a terminal is taken out."""
    if not sys.stdout.isatty():
        guest.ask("changes", base, form, take=sys.stdout.buffer.write, limit=limit)
        sys.stdout.buffer.flush()
        return
    rest = b""

    def take(data: bytes) -> None:
        nonlocal rest
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            _print_line(line)
        if len(rest) > _LINE:
            _print_line(rest)
            rest = b""

    guest.ask("changes", base, form, take=take, limit=limit)
    if rest:
        _print_line(rest)


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


def _clean(field: bytes) -> str:
    return clean(field.decode(errors="backslashreplace"))[:4096]
