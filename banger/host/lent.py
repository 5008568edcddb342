"""Files of the user's that are lent to a VM: read, bounded, and put into the form in which the guest takes them."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from banger.errors import ConfigError
from banger.guest import tree
from banger.host.command import Commands
from banger.model.auth import Lent

#: Bytes of one file that a plugin names; bytes and files of one entry; directories in each other.
FILE_LIMIT, TOTAL_LIMIT, COUNT_LIMIT, _DEPTH = 1024 * 1024, 16 * 1024 * 1024, 4096, 32
#: RFC 7468's label of PEM and OpenSSH keys, and the first line of PuTTY's.
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|PuTTY-User-Key-File-\d")
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class LentFile:
    """A file as it is to arrive. Its content is never part of a representation.

    :param names: below ``/root``. :param time: of modification, nanoseconds since 1970.
    """

    names: tuple[str, ...]
    mode: int
    time: int
    data: bytes = field(repr=False)


def read_lent(lent: Lent, commands: Commands) -> list[LentFile] | None:
    """Return the files of one entry; None when the host has nothing there.

    :raises ConfigError: it cannot be read, is no file, is too much, or has a private key in it.
    """
    try:
        if lent.read is not None:
            data = lent.read(commands)
            found = None if data is None else [LentFile(lent.guest, lent.mode, time.time_ns(), data)]
        else:
            found = _read(lent)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(
            f"{lent.label}: {lent.host}: {error.strerror}", hint=f"see: ls -l {lent.host}"
        ) from None
    for file in found or ():
        if not lent.private_keys and _PRIVATE_KEY.search(file.data):
            where = "/".join((lent.host, *file.names[len(lent.guest) :]))
            raise ConfigError(
                f"{lent.label}: {where} is a private key, which a VM is not lent",
                hint="lend the use of it: --ssh-agent; or, for this file, private_keys = true in [[file_sync]]",
            )
    return found


def _read(lent: Lent) -> list[LentFile]:
    # The named one may be a link: it is the user who named it. None below it is followed.
    descriptor = os.open(lent.host, _OPEN)
    try:
        info = os.fstat(descriptor)
        if stat.S_ISDIR(info.st_mode) and lent.tree:
            return list(_walk(lent, descriptor, lent.guest, _Budget(lent), 0))
        if not stat.S_ISREG(info.st_mode):
            raise ConfigError(f"{lent.label}: {lent.host} is no file", hint=f"see: ls -ld {lent.host}")
        budget = _Budget(lent, TOTAL_LIMIT if lent.tree else FILE_LIMIT)
        return [LentFile(lent.guest, lent.mode, info.st_mtime_ns, budget.read(descriptor))]
    finally:
        os.close(descriptor)


class _Budget:
    """How much one entry may still be."""

    def __init__(self, lent: Lent, size: int = TOTAL_LIMIT) -> None:
        self._lent, self._size, self._left, self._files = lent, size, size, COUNT_LIMIT

    def read(self, descriptor: int) -> bytes:
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(self._left + 1)
        self._left -= len(data)
        self._files -= 1
        if self._left < 0 or self._files < 0:
            raise ConfigError(
                f"{self._lent.label}: more than {self._size // 1024 // 1024} MiB or {COUNT_LIMIT} files",
                hint="copy it once instead: banger vm cp",
            )
        return data


def _walk(
    lent: Lent, directory: int, names: tuple[str, ...], budget: _Budget, depth: int
) -> Iterator[LentFile]:
    if depth > _DEPTH:
        raise ConfigError(
            f"{lent.label}: more than {_DEPTH} directories in each other", hint="lend less of it"
        )
    for name in sorted(os.listdir(directory)):
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
            continue
        descriptor = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=directory)
        try:
            if stat.S_ISDIR(info.st_mode):
                yield from _walk(lent, descriptor, (*names, name), budget, depth + 1)
            else:
                yield LentFile(
                    (*names, name), info.st_mode & 0o777, info.st_mtime_ns, budget.read(descriptor)
                )
        finally:
            os.close(descriptor)


def encode_files(files: Sequence[LentFile]) -> bytes:
    """Return files as the records of a tree; directories on the way are made for their owner alone."""
    root: dict[str, Any] = {}
    for file in files:
        folder = root
        for name in file.names[:-1]:
            folder = folder.setdefault(name, {})
        folder[file.names[-1]] = file
    return b"".join((*_encode("", root), tree.encode(tree.Record(tree.DONE))))


def _encode(name: str, entry: dict[str, Any] | LentFile) -> Iterator[bytes]:
    raw = os.fsencode(name)
    if isinstance(entry, dict):
        yield tree.encode(tree.Record(tree.DIRECTORY, raw, 0o700, time.time_ns()))
        for inner, below in entry.items():
            yield from _encode(inner, below)
        yield tree.encode(tree.Record(tree.END))
        return
    data = entry.data
    yield tree.encode(tree.Record(tree.FILE, raw, entry.mode, entry.time, len(data)))
    for at in range(0, len(data), tree.CHUNK):
        yield tree.encode(tree.Record(tree.DATA, time=at, payload=data[at : at + tree.CHUNK]))
    yield tree.encode(tree.Record(tree.END, size=len(data)))
