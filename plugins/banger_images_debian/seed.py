"""The work seed: the image's /root, taken from a tar without trusting it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from banger.api import ImageError

if TYPE_CHECKING:
    from tarfile import TarInfo

#: Bounds on what a home directory in an image may hold.
MAX_BYTES = 64 * 1024 * 1024
MAX_ENTRIES = 4096


def unpack_seed(archive: Path, target: Path) -> None:
    """Unpack the regular files and directories of a tar into ``target``, which is made; the rest is left out.

    :raises ImageError: a path leads out of the target, or there is too much.
    """
    import tarfile

    target.mkdir(mode=0o700)
    left = MAX_BYTES
    try:
        with tarfile.open(archive, "r:") as tar:
            for count, entry in enumerate(tar, start=1):
                left -= max(entry.size, 0)
                if count > MAX_ENTRIES or left < 0:
                    raise ImageError(f"the image's /root holds more than {MAX_ENTRIES} files or 64 MiB")
                _unpack(tar.extractfile(entry) if entry.isreg() else None, entry, target)
    except (tarfile.TarError, OSError) as error:
        raise ImageError(f"the image's /root cannot be unpacked: {error}") from error


def _unpack(content: IO[bytes] | None, entry: TarInfo, target: Path) -> None:
    import os
    import shutil

    path = PurePosixPath(entry.name)
    if path.is_absolute() or ".." in path.parts or "\0" in entry.name:
        raise ImageError(f"the image's /root holds an unsafe path: {entry.name!r}")
    place = target / path
    if entry.isdir():
        place.mkdir(parents=True, exist_ok=True)
        # The owner must be able to remove it again.
        place.chmod(entry.mode & 0o777 | 0o700)
    elif content is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Only regular files and directories are ever made here, so no part of the path is a link.
        with open(place, "xb") as file:
            shutil.copyfileobj(content, file)
        place.chmod(entry.mode & 0o777)
        os.utime(place, (entry.mtime, entry.mtime))
