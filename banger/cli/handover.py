"""Directories that the command line fills and the daemon takes over by renaming them: the same file system, no copy."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from banger.errors import HostError
from banger.host.folder import remove_tree

#: Seconds in which a directory that was just made is locked.
_GRACE = 60.0


@contextmanager
def open_handover(folder: Path) -> Iterator[Path]:
    """Make a directory that a daemon may take over; what it did not take is removed.

    It is locked (flock) meanwhile, and whoever comes next removes what is not: a process that was killed leaves no more
    than one.

    :param folder: where to make it, :attr:`banger.config.paths.Paths.handover`.
    :raises HostError: it cannot be made.
    """
    new = folder / os.urandom(16).hex()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.mkdir(mode=0o700)
    except OSError as error:
        raise HostError(
            f"{new} cannot be made: {error.strerror}", hint="check the directory's owner and free space"
        ) from error
    descriptor = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _tidy(folder)
        yield new
    finally:
        remove_tree(new)
        os.close(descriptor)


def _tidy(folder: Path) -> None:
    """Remove what processes left that live no more; one that is new may not be locked yet."""
    for entry in folder.iterdir():
        with suppress(OSError):
            fresh = entry.stat().st_ctime > time.time() - _GRACE
            if not fresh and not _is_held(entry):
                remove_tree(entry)


def _is_held(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
