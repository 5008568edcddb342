"""Copies of disk files: shared where the file system can, holes left out where it cannot."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from banger.errors import HostError
from banger.host.disk import no_space

#: Copy on write between two files: ``FICLONE`` of linux/fs.h, ``_IOW(0x94, 9, int)``.
_FICLONE = 0x40049409
_STEP = 16 << 20


def copy_disk(source: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Copy a disk to a new file that only its owner reads; holes stay holes. Half a copy is never left.

    :param progress: called with bytes done and bytes in all, every 16 MiB; what it raises ends the work.
    :raises HostError: no space, the file is there already, or one of the two cannot be read or written.
    """
    try:
        with open(source, "rb", buffering=0) as file:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(target, flags, 0o600), "wb", buffering=0) as copy:
                try:
                    _copy(file.fileno(), copy.fileno(), progress)
                except BaseException:
                    target.unlink(missing_ok=True)
                    raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(target) from error
        raise HostError(f"{source} cannot be copied to {target}: {error.strerror}") from error


def clone_file(source: int, target: int) -> bool:
    """Let an open file share all blocks of another, copied on write; False where the file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _copy(source: int, target: int, progress: Callable[[int, int], None] | None) -> None:
    size = os.fstat(source).st_size
    if not clone_file(source, target):
        os.ftruncate(target, size)
        offset = 0
        while (start := _find(source, offset, os.SEEK_DATA)) is not None:
            offset = _find(source, start, os.SEEK_HOLE) or size
            _copy_range(source, target, start, offset, size, progress)
    if progress is not None:
        progress(size, size)


def _copy_range(
    source: int, target: int, start: int, end: int, size: int, progress: Callable[[int, int], None] | None
) -> None:
    os.lseek(target, start, os.SEEK_SET)
    while start < end:
        count = os.sendfile(target, source, start, min(_STEP, end - start))
        if count == 0:
            return  # the file became shorter
        start += count
        if progress is not None:
            progress(start, size)


def _find(descriptor: int, offset: int, what: int) -> int | None:
    """Return where data or a hole is next; None when there is no more."""
    try:
        return os.lseek(descriptor, offset, what)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
