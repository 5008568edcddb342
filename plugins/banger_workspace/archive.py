"""Files as a tar stream: read without following any link, piece by piece, and the same from beginning to end."""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
    with Tree(top) as tree:
        for path in paths:
            yield from _member(tree, path)
    yield bytes(2 * _BLOCK)


class Tree:
    """A directory tree whose files are reached name by name, no link followed; the last directory is kept open."""

    def __init__(self, top: str) -> None:
        self._top = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folders: tuple[bytes, ...] = ()
        self._descriptor = self._top

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
        os.close(self._top)

    def enter(self, path: bytes, *, make: bool = False) -> tuple[int, bytes]:
        """Return the descriptor of the directory that a path is in, and its last name.

        :param make: make the directories that are missing.
        :raises OSError: one is missing, or is something else.
        """
        *folders, name = path.split(b"/")
        if any(part in (b"", b".", b"..") for part in (*folders, name)):
            raise _changed(path)
        if tuple(folders) != self._folders:
            self._leave()
            for folder in folders:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(folder, 0o755, dir_fd=self._descriptor)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                below = os.open(folder, flags, dir_fd=self._descriptor)
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


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that is read, or a link.

    :param pieces: the content, in pieces; reading them raises ConflictError when the file changes meanwhile.
    """

    status: os.stat_result
    link: bytes | None = None
    pieces: Iterable[bytes] = ()


@contextlib.contextmanager
def open_entry(tree: Tree, path: bytes) -> Iterator[Entry]:
    """Open a file or a link of a tree.

    :raises ConflictError: it is gone, is neither, changed while it was read, or cannot be read.
    """
    with contextlib.ExitStack() as stack:
        with _explained(path):
            entry = _open(tree, path, stack)
        yield entry


@contextlib.contextmanager
def _explained(path: bytes) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise _changed(path) from None
    except OSError as error:
        raise ConflictError(
            f"'{printable(path)}' cannot be read: {error.strerror}", hint="check its permissions"
        ) from None


def _open(tree: Tree, path: bytes, stack: contextlib.ExitStack) -> Entry:
    folder, name = tree.enter(path)
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        return Entry(status, os.readlink(name, dir_fd=folder))
    if not stat.S_ISREG(status.st_mode):
        raise _changed(path)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return _read(path, descriptor)


def _member(tree: Tree, path: bytes) -> Iterator[bytes]:
    with open_entry(tree, path) as entry:
        yield _header(path, entry.status, entry.link)
        size = 0
        for piece in entry.pieces:
            yield piece
            size += len(piece)
        yield bytes(-size % _BLOCK)


def _read(path: bytes, descriptor: int) -> Entry:
    """Return a regular file. A small one that changes is read again; a large one cannot be taken back."""
    for _ in range(_LOOKS):
        before = os.fstat(descriptor)
        if before.st_size > _CHUNK:
            return Entry(before, pieces=_large(path, descriptor, before))
        data = os.pread(descriptor, _CHUNK + 1, 0)
        if len(data) == before.st_size and _same(before, os.fstat(descriptor)):
            return Entry(before, pieces=(data,))
    raise _changed(path)


def _large(path: bytes, descriptor: int, before: os.stat_result) -> Iterator[bytes]:
    at = 0
    while at < before.st_size:
        with _explained(path):
            data = os.pread(descriptor, min(_CHUNK, before.st_size - at), at)
        if not data:
            raise _changed(path)
        at += len(data)
        yield data
    if not _same(before, os.fstat(descriptor)):
        raise _changed(path)


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _header(path: bytes, status: os.stat_result, link: bytes | None = None) -> bytes:
    info = tarfile.TarInfo(os.fsdecode(path))
    info.mtime = max(0, int(status.st_mtime))
    if link is not None:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, os.fsdecode(link), 0o777
    else:
        info.size, info.mode = status.st_size, guest_mode(status)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def guest_mode(status: os.stat_result) -> int:
    """Return a file's mode in the guest: executable or not, as git knows it."""
    return 0o755 if status.st_mode & stat.S_IXUSR else 0o644


def _changed(path: bytes) -> ConflictError:
    return ConflictError(f"'{printable(path)}' changed while it was copied", hint="run it again")
