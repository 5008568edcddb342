"""Records from a guest become files of this host, for ``vm cp`` out of a VM.

The guest is hostile. Nothing is written outside the one directory that was opened: every name is one name, every
directory is reached through a descriptor of the one above it, and no link is followed. Files get a name of ours first
and theirs when they are whole.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from banger.cli.terminal import write_all
from banger.cli.tree_send import Complain
from banger.errors import HostError, UsageError
from banger.guest import tree
from banger.guest.wire import clean_text

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: After these nothing else can be written either.
_FATAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})


@dataclass(slots=True)
class _Open:
    """A directory on the way down; descriptor -1: it could not be made, and what is in it is passed over."""

    descriptor: int
    path: str
    made: bool = False
    mode: int = 0
    time: int = 0


class TreeWriter:
    """Writes records below ``target``, as ``cp`` chooses the place; use it as a context.

    :param target: an existing directory takes the source under its own name ``base``; else it is the new name.
    """

    def __init__(self, target: str, base: str, complain: Complain) -> None:
        self._complain = complain
        self._target = target
        self._base = base
        self._stack: list[_Open] = []
        self._part: str | None = None
        self._file = -1
        self._header = tree.Record(tree.FILE)
        self._count = 0
        self._root = b""
        self._is_directory = False
        self.received = 0

    def __enter__(self) -> Self:
        """Open the directory that everything goes to."""
        target = self._target
        self._is_directory = os.path.isdir(target)
        if self._is_directory:
            self._root = os.fsencode(self._base)
            self._stack.append(_Open(os.open(target, _DIRECTORY), target))
            return self
        if os.path.exists(target):
            if not os.path.isfile(target) or target.endswith("/"):
                raise UsageError(f"{target} is neither a file nor a directory", hint="name another target")
            target = os.path.realpath(target)
        parent, name = os.path.split(target.rstrip("/"))
        self._root = os.fsencode(name)
        if not tree.is_name(self._root):
            raise UsageError(f"'{self._target}' is no name for a file", hint="name a file or a directory")
        try:
            self._stack.append(_Open(os.open(parent or ".", _DIRECTORY), parent or "."))
        except OSError as error:
            raise HostError(
                f"{parent or '.'}: {error.strerror}", hint="make the directory first: mkdir -p"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing half-made under its final name, nor under ours."""
        self._drop_part()
        for opened in self._stack:
            if opened.descriptor >= 0:
                os.close(opened.descriptor)
        self._stack.clear()

    def take(self, record: tree.Record) -> None:
        """Write one record."""
        takers: dict[int, Callable[[tree.Record], None]] = {
            tree.DIRECTORY: self._enter,
            tree.FILE: self._begin_file,
            tree.DATA: self._write,
            tree.END: self._end,
            tree.LINK: self._link,
            tree.SKIPPED: self._skipped,
        }
        if record.type in takers:
            takers[record.type](record)

    def _here(self) -> _Open:
        return self._stack[-1]

    def _name(self, record: tree.Record) -> bytes:
        return record.name if len(self._stack) > 1 else self._root

    def _say(self, name: bytes, error: OSError) -> None:
        path = os.path.join(self._here().path, os.fsdecode(name))
        if error.errno in _FATAL:
            raise HostError(
                f"{clean_text(path, 500)}: {error.strerror}", hint="free some space: df -h"
            ) from error
        self._complain(path, error.strerror or str(error))

    def _check_target(self, name: bytes) -> None:
        """Refuse to replace what is neither a file nor a link."""
        with suppress(FileNotFoundError):
            mode = os.stat(name, dir_fd=self._here().descriptor, follow_symlinks=False).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
                number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EEXIST
                raise OSError(number, os.strerror(number))

    def _new_part(self) -> str:
        self._count += 1
        return f".banger-{os.getpid()}-{self._count}"

    def _begin_file(self, record: tree.Record) -> None:
        here, name = self._here(), self._name(record)
        if len(self._stack) == 1:
            self._check_root(tree.FILE)
        self._header = record._replace(name=name)
        if here.descriptor < 0:
            return
        try:
            self._check_target(name)
            part = self._new_part()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(part, flags, 0o600, dir_fd=here.descriptor)
            self._part = part
        except OSError as error:
            self._say(name, error)

    def _check_root(self, kind: int) -> None:
        if kind == tree.FILE and self._is_directory and not tree.is_name(self._root):
            raise UsageError(f"{self._target} is a directory", hint="name the file in it")
        if kind == tree.FILE and not self._is_directory and self._target.endswith("/"):
            raise UsageError(
                f"{self._target} is no directory", hint=f"make it first: mkdir -p {self._target}"
            )

    def _write(self, record: tree.Record) -> None:
        self.received += len(record.payload)
        if self._file < 0:
            return
        view, offset = memoryview(record.payload), record.time
        try:
            while view:
                written = os.pwrite(self._file, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            self._drop_part()
            self._say(self._header.name, error)

    def _end(self, record: tree.Record) -> None:
        if self._header.type == tree.FILE and self._header.name:
            self._end_file(record)
        else:
            self._leave()

    def _end_file(self, record: tree.Record) -> None:
        header, self._header = self._header, tree.Record(tree.FILE)
        if self._file < 0 or self._part is None:
            return
        if record.number:
            self._drop_part()
            return
        here = self._here().descriptor
        try:
            os.ftruncate(self._file, record.size)
            os.fchmod(self._file, header.number & 0o777)
            _set_time(self._file, header.time)
            os.rename(self._part, header.name, src_dir_fd=here, dst_dir_fd=here)
            self._part = None
            os.close(self._file)
            self._file = -1
        except (OSError, OverflowError) as error:
            self._drop_part()
            self._say(header.name, error if isinstance(error, OSError) else OSError(errno.EFBIG, "too large"))

    def _drop_part(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        if self._part is not None:
            with suppress(OSError):
                os.unlink(self._part, dir_fd=self._here().descriptor)
        self._file, self._part = -1, None

    def _enter(self, record: tree.Record) -> None:
        here, name = self._here(), self._name(record)
        merge = len(self._stack) == 1 and self._is_directory and not tree.is_name(name)
        opened = _Open(-1, os.path.join(here.path, os.fsdecode(name)), mode=record.number, time=record.time)
        try:
            if merge:
                opened.descriptor = os.dup(here.descriptor)
            elif here.descriptor >= 0:
                if len(self._stack) == 1 and not self._is_directory and os.path.isfile(self._target):
                    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=here.descriptor)
                    opened.made = True
                opened.descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=here.descriptor)
        except OSError as error:
            self._say(name, error)
        self._stack.append(opened)

    def _leave(self) -> None:
        opened = self._stack.pop()
        if opened.descriptor < 0:
            return
        try:
            if opened.made:
                os.fchmod(opened.descriptor, opened.mode & 0o777)
                _set_time(opened.descriptor, opened.time)
        except OSError as error:
            self._complain(opened.path, error.strerror or str(error))
        finally:
            os.close(opened.descriptor)

    def _link(self, record: tree.Record) -> None:
        here, name = self._here(), self._name(record)
        if here.descriptor < 0:
            return
        part = self._new_part()
        try:
            self._check_target(name)
            os.symlink(bytes(record.payload), os.fsencode(part), dir_fd=here.descriptor)
            try:
                with suppress(OverflowError):
                    times = (record.time, record.time)
                    os.utime(part, ns=times, dir_fd=here.descriptor, follow_symlinks=False)
                os.rename(part, name, src_dir_fd=here.descriptor, dst_dir_fd=here.descriptor)
            except OSError:
                os.unlink(part, dir_fd=here.descriptor)
                raise
        except (OSError, ValueError) as error:
            self._say(name, error if isinstance(error, OSError) else OSError(errno.EINVAL, "no such link"))

    def _skipped(self, record: tree.Record) -> None:
        reason = clean_text(bytes(record.payload).decode(errors="replace"), tree.REASON_LIMIT)
        self._complain(os.path.join(self._here().path, os.fsdecode(record.name)), reason)


def _set_time(descriptor: int, time: int) -> None:
    """Set the time of modification; one that cannot be is left as it is."""
    with suppress(OverflowError, ValueError):
        os.utime(descriptor, ns=(max(0, time), max(0, time)))


class StreamWriter:
    """Writes the one file that is sent to a pipe or a terminal; holes become zeros."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0
        self.received = 0

    def __enter__(self) -> Self:
        """Open nothing: the descriptor is the caller's."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close nothing."""

    def take(self, record: tree.Record) -> None:
        """Write one record."""
        if record.type in (tree.DIRECTORY, tree.LINK):
            raise UsageError(
                "a directory does not go to standard output", hint="name a directory here instead"
            )
        if record.type == tree.SKIPPED:
            raise HostError(clean_text(bytes(record.payload).decode(errors="replace"), tree.REASON_LIMIT))
        if record.type == tree.DATA:
            if record.time < self._at:
                raise HostError("the guest sent the pieces of a file out of order")
            self._fill(record.time)
            self._write(memoryview(record.payload))
            self.received += len(record.payload)
        elif record.type == tree.END and not record.number:
            self._fill(record.size)

    def _fill(self, end: int) -> None:
        while self._at < end:
            self._write(memoryview(bytes(min(tree.CHUNK, end - self._at))))

    def _write(self, data: memoryview) -> None:
        self._at += len(data)
        write_all(self._descriptor, data)
