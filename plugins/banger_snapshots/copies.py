"""Copies of disks: shared blocks where the file system can, else all but the holes, and only where they fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from banger.api import HostError, OperationContext, allocated_bytes, copy_disk, format_bytes, shares_blocks
from banger_snapshots.shelf import sync

#: The disks of a VM, as the steps that make them call them: what stands before the dot.
_DISKS = ("root.*", "work.*")
#: Bytes that stay free on the host's disk.
_SPARE = 256 << 20


def find_disks(directory: Path) -> list[Path]:
    """Return the disks in a VM's directory, or in a snapshot's, by name."""
    return sorted(path for pattern in _DISKS for path in directory.glob(pattern) if path.is_file())


def copy_disks(op: OperationContext, disks: Iterable[Path], target: Path, stage: str) -> list[Path]:
    """Copy disks into a directory of the host's same file system; HostError with the numbers when they do not fit."""
    sources = list(disks)
    check_room(sources, target)
    copies = []
    for disk in sources:
        copy = target / disk.name
        copy_disk(disk, copy, _teller(op, stage, disk.name))
        copies.append(copy)
    return copies


def _teller(op: OperationContext, stage: str, name: str) -> Callable[[int, int], None]:
    return lambda done, total: op.progress(stage, name, done=done, total=total)


def check_room(disks: Iterable[Path], target: Path) -> None:
    """Refuse copies that the host's disk has no room for."""
    if shares_blocks(target):
        return
    needed, free = sum(map(allocated_bytes, disks)), shutil.disk_usage(target).free
    if needed + _SPARE > free:
        raise HostError(
            f"the disks take {format_bytes(needed)} and {format_bytes(free)} are free at {target.parent},"
            f" of which {format_bytes(_SPARE)} have to stay so",
            hint="banger system df shows what takes room; banger vm prune, banger vm snapshot delete",
        )


def sync_all(directory: Path, files: Iterable[Path]) -> None:
    """Wait until files and their directory are on the host's disk."""
    for path in (*files, directory):
        sync(path)
