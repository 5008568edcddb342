"""Files as a tar stream: read without following any link, piece by piece, and the same from beginning to end."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from typing import Self

from banger.api import ConflictError
from banger_workspace.git import printable

_CHUNK = 256 * 1024
_BLOCK = 512
#: How often a file that changes while it is read is looked at.
_LOOKS = 3


def tar_stream(top: str, paths: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a tar archive (GNU format, names as they are) of these files, owned by root.

    :raises ConflictError: a file vanished or changed while it was read.
    """
    with _Tree(top) as tree:
        for path in paths:
            yield from _member(tree, path)
    yield bytes(2 * _BLOCK)


class _Tree:
    """A directory tree whose files are reached name by name; the last directory is kept open."""

    def __init__(self, top: str) -> None:
        self._top = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
        self._folders: tuple[bytes, ...] = ()
        self._descriptor = self._top

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
        os.close(self._top)

    def enter(self, path: bytes) -> tuple[int, bytes]:
        """Return the descriptor of the directory that a path is in, and its last name."""
        *folders, name = path.split(b"/")
        if any(part in (b"", b".", b"..") for part in (*folders, name)):
            raise _changed(path)
        if tuple(folders) != self._folders:
            self._leave()
            for folder in folders:
                below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._descriptor)
                self._close()
                self._descriptor = below
            self._folders = tuple(folders)
        return self._descriptor, name

    def _leave(self) -> None:
        self._close()
        self._descriptor, self._folders = self._top, ()

    def _close(self) -> None:
        if self._descriptor != self._top:
            os.close(self._descriptor)


def _member(tree: _Tree, path: bytes) -> Iterator[bytes]:
    try:
        folder, name = tree.enter(path)
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            yield _header(path, status, link=os.readlink(name, dir_fd=folder))
        elif stat.S_ISREG(status.st_mode):
            yield from _file(path, folder, name)
        else:
            raise _changed(path)
    except FileNotFoundError:
        raise _changed(path) from None
    except OSError as error:
        raise ConflictError(
            f"'{printable(path)}' cannot be read: {error.strerror}", hint="check its permissions"
        ) from None


def _file(path: bytes, folder: int, name: bytes) -> Iterator[bytes]:
    """Yield a regular file. A small one that changes is read again; a large one cannot be taken back."""
    with open(
        os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb", buffering=0
    ) as file:
        for _ in range(_LOOKS):
            before = os.fstat(file.fileno())
            if before.st_size > _CHUNK:
                yield from _large(path, file.fileno(), before)
                return
            data = os.pread(file.fileno(), _CHUNK + 1, 0)
            if len(data) == before.st_size and _same(before, os.fstat(file.fileno())):
                yield _header(path, before) + data + bytes(-len(data) % _BLOCK)
                return
    raise _changed(path)


def _large(path: bytes, descriptor: int, before: os.stat_result) -> Iterator[bytes]:
    yield _header(path, before)
    at = 0
    while at < before.st_size:
        data = os.pread(descriptor, min(_CHUNK, before.st_size - at), at)
        if not data:
            raise _changed(path)
        at += len(data)
        yield data
    if not _same(before, os.fstat(descriptor)):
        raise _changed(path)
    yield bytes(-at % _BLOCK)


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _header(path: bytes, status: os.stat_result, link: bytes | None = None) -> bytes:
    info = tarfile.TarInfo(os.fsdecode(path))
    info.mtime = max(0, int(status.st_mtime))
    if link is not None:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, os.fsdecode(link), 0o777
    else:
        info.size = status.st_size
        info.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _changed(path: bytes) -> ConflictError:
    return ConflictError(f"'{printable(path)}' changed while it was copied", hint="run it again")
