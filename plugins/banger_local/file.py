"""A new file of the user's that is there when it is whole, and not before."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from banger.api import ConflictError, HostError

#: What open(2) says where a file system has no files without names.
_NAMED_ONLY = (errno.EOPNOTSUPP, errno.EISDIR)


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Give a file, for its owner only, that gets its name when the block ends well.

    Killed before, nothing of it stays, but on file systems that know no files without names (NFS).

    :param force: it may take the place of another.
    :raises ConflictError: there is another. :raises HostError: it cannot be written.
    """
    try:
        with contextlib.ExitStack() as stack:
            file, source = _open(path.parent, stack)
            yield file
            file.flush()
            os.fsync(file.fileno())
            _give_name(source or file.fileno(), path, force=force)
    except FileExistsError as error:
        raise ConflictError(f"{path} exists", hint="--force writes over it") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some, or write it elsewhere" if full else f"ls -ld {path.parent}"
        raise HostError(f"{path} cannot be written: {error.strerror}", hint=hint) from error


def _open(directory: Path, stack: contextlib.ExitStack) -> tuple[IO[bytes], Path | None]:
    """Open a file without a name, or one with a temporary name, which is returned."""
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        return stack.enter_context(open(descriptor, "w+b")), None
    except OSError as error:
        if error.errno not in _NAMED_ONLY:
            raise
    beside = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory, prefix=".banger-")), "file")
    return stack.enter_context(
        open(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b")
    ), beside


def _give_name(source: Path | int, path: Path, *, force: bool) -> None:
    if not force:
        _link(source, path)
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".banger-") as beside:
        _link(source, Path(beside, "named"))
        os.replace(Path(beside, "named"), path)


def _link(source: Path | int, path: Path) -> None:
    """Give a file, or what a descriptor means, a name that nothing else has."""
    if isinstance(source, Path):
        os.link(source, path)
        return
    # With a directory Python calls linkat(2), which follows the link that a descriptor is there.
    descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(str(source), path, src_dir_fd=descriptors)
    finally:
        os.close(descriptors)
