"""Files and directories of this host as records, for ``vm cp`` into a VM."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

from banger.guest import tree

#: Called with a path and why it is not copied.
Complain = Callable[[str, str], None]

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW


def read_tree(path: str, complain: Complain) -> Iterator[bytes]:
    """Yield the records of a file or directory; the named one itself may be a link, those in it stay links.

    :raises OSError: it cannot be read at all.
    """
    descriptor = os.open(path, _FLAGS & ~os.O_NOFOLLOW)
    info = os.fstat(descriptor)
    if stat.S_ISDIR(info.st_mode):
        yield from _directory(descriptor, b"", info, path, 0, complain)
    else:
        yield from _file(descriptor, b"", info, path, complain)
    yield tree.encode(tree.Record(tree.DONE))


def read_stream(descriptor: int) -> Iterator[bytes]:
    """Yield the records of a file whose bytes come from a pipe."""
    yield tree.encode(tree.Record(tree.FILE, number=0o644, time=_now()))
    offset = 0
    while data := os.read(descriptor, tree.CHUNK):
        yield tree.encode(tree.Record(tree.DATA, time=offset, payload=data))
        offset += len(data)
    yield tree.encode(tree.Record(tree.END, size=offset))
    yield tree.encode(tree.Record(tree.DONE))


def tree_size(path: str) -> int | None:
    """Return how many bytes a file has; None for a directory, which is not walked twice."""
    info = os.stat(path)
    return info.st_size if stat.S_ISREG(info.st_mode) else None


def _now() -> int:
    import time

    return time.time_ns()


def _directory(
    descriptor: int, name: bytes, info: os.stat_result, path: str, depth: int, complain: Complain
) -> Iterator[bytes]:
    try:
        if depth >= tree.DEPTH:
            complain(path, "too deep")
            return
        yield tree.encode(tree.Record(tree.DIRECTORY, name, info.st_mode & 0o7777, info.st_mtime_ns))
        for entry in sorted(os.listdir(descriptor)):
            yield from _entry(descriptor, entry, os.path.join(path, entry), depth + 1, complain)
        yield tree.encode(tree.Record(tree.END))
    finally:
        os.close(descriptor)


def _entry(parent: int, entry: str, path: str, depth: int, complain: Complain) -> Iterator[bytes]:
    name = os.fsencode(entry)
    try:
        info = os.stat(entry, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            target = os.fsencode(os.readlink(entry, dir_fd=parent))
            yield tree.encode(tree.Record(tree.LINK, name, time=info.st_mtime_ns, payload=target))
            return
        if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
            complain(path, "devices, pipes and sockets are not copied")
            return
        descriptor = os.open(entry, _FLAGS, dir_fd=parent)
    except OSError as error:
        complain(path, error.strerror or str(error))
        return
    info = os.fstat(descriptor)
    send = _directory(descriptor, name, info, path, depth, complain) if stat.S_ISDIR(info.st_mode) else None
    yield from send if send is not None else _file(descriptor, name, info, path, complain)


def _file(
    descriptor: int, name: bytes, info: os.stat_result, path: str, complain: Complain
) -> Iterator[bytes]:
    yield tree.encode(tree.Record(tree.FILE, name, info.st_mode & 0o7777, info.st_mtime_ns, info.st_size))
    size, broken = info.st_size, False
    try:
        for offset, data in _pieces(descriptor, size):
            size = max(size, offset + len(data)) if info.st_size == 0 else size
            if not data:
                size = offset
                break
            yield tree.encode(tree.Record(tree.DATA, time=offset, payload=data))
    except OSError as error:
        complain(path, error.strerror or str(error))
        broken = True
    finally:
        os.close(descriptor)
    yield tree.encode(tree.Record(tree.END, number=int(broken), size=0 if broken else size))


def _pieces(descriptor: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield what is not hole; nothing at an offset says that the file ends there.

    A file that says it is empty may be one of the kernel's own, and is read to its end.
    """
    at, end = 0, size or 2**62
    while at < end:
        begin, hole = (at, end) if size == 0 else _next_data(descriptor, at, end)
        at = begin
        while at < hole:
            data = os.pread(descriptor, min(tree.CHUNK, hole - at), at)
            yield at, data
            if not data:
                return
            at += len(data)


def _next_data(descriptor: int, at: int, end: int) -> tuple[int, int]:
    try:
        begin = os.lseek(descriptor, at, os.SEEK_DATA)
        return min(begin, end), min(os.lseek(descriptor, begin, os.SEEK_HOLE), end)
    except OSError as error:
        return (end, end) if error.errno == errno.ENXIO else (at, end)
