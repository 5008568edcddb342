"""Directories of ours: removed whole, and handed from the command line to the daemon."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from banger.errors import HostError

log = logging.getLogger(__name__)


def remove_tree(directory: Path) -> None:
    """Remove a directory of ours and all in it; nothing happens when it is not there."""

    def failed(function: object, path: str, error: BaseException) -> None:
        if not isinstance(error, FileNotFoundError):
            log.error("%s could not be removed: %s", path, error)

    for path, folders, _ in os.walk(directory):
        for folder in folders:
            inner = os.path.join(path, folder)
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(directory, onerror=lambda f, p, info: failed(f, p, info[1]))


@contextmanager
def open_handover(staging: Path) -> Iterator[Path]:
    """Make a directory that a daemon may take over by renaming it; what it did not take is removed.

    It is locked (flock) meanwhile: a daemon that tidies up leaves it alone as long as this process lives.

    :param staging: where to make it, ``<state>/staging``.
    :raises HostError: it cannot be made.
    """
    folder = staging / uuid.uuid4().hex
    try:
        staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise HostError(
            f"{folder} cannot be made: {error.strerror}", hint="check the directory's owner and free space"
        ) from error
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        remove_tree(folder)
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Tell whether the process that fills a directory still lives."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
