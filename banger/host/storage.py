"""What a directory's file system can do, tried for real in files without a name."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from banger.host.copy import clone_file

#: Bytes of the file with a hole; a file system without holes writes them all.
_HOLE = 4 * 1024**2
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "afs", "ceph")


@dataclass(frozen=True, slots=True)
class Storage:
    """A directory's file system: its type as in mountinfo, and whether holes, flock and reflinks work there."""

    kind: str
    sparse: bool
    locks: bool
    reflink: bool

    @property
    def is_remote(self) -> bool:
        return self.kind in _NETWORK


def find_existing(directory: Path) -> Path:
    """Return the directory, or the nearest one above it that is there."""
    while not directory.is_dir() and directory != directory.parent:
        directory = directory.parent
    return directory


def probe_storage(directory: Path) -> Storage:
    """Try what a directory's file system can do; nothing stays there. OSError when no file can be made."""
    with tempfile.TemporaryFile(dir=directory) as one, tempfile.TemporaryFile(dir=directory) as other:
        one.truncate(_HOLE)
        os.pwrite(one.fileno(), b"\1", _HOLE - 1)
        os.fsync(one.fileno())
        sparse = os.fstat(one.fileno()).st_blocks * 512 < _HOLE // 2
        return Storage(
            find_kind(directory), sparse, _can_lock(one.fileno()), clone_file(one.fileno(), other.fileno())
        )


def shares_blocks(directory: Path) -> bool:
    """Tell whether a copy in a directory can share its blocks with what it is of; nothing stays there."""
    try:
        with tempfile.TemporaryFile(dir=directory) as one, tempfile.TemporaryFile(dir=directory) as other:
            os.write(one.fileno(), bytes(4096))
            return clone_file(one.fileno(), other.fileno())
    except OSError:
        return False


def find_kind(directory: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the type of the file system a directory lies on, ``unknown`` when the kernel does not say."""
    try:
        lines = mountinfo.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return "unknown"
    path, best, kind = directory.resolve(), -1, "unknown"
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        if path.is_relative_to(point) and len(point) >= best:  # a later mount covers an earlier one
            best, kind = len(point), after.split(" ")[0]
    return kind


def _can_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
