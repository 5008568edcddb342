"""Making, attaching and removing the work disk."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from banger.api import (
    Drive,
    GuestConfig,
    GuestMount,
    HostError,
    StartContext,
    UndoContext,
    VmPaths,
    copy_disk,
)

#: Namespace of the work disks' UUIDs, so that a VM's is known without being stored.
_NAMESPACE = uuid.UUID("7d1f0b52-6f6b-4b5e-9d1a-3f7f8a0c2e11")


def make(ctx: StartContext) -> None:
    """Make the disk at the first start, lazily initialised, filled from the image's work seed."""
    disk = _path(ctx.paths)
    if ctx.recorded().get("made"):
        if not disk.exists():
            raise HostError(f"the work disk {disk} is gone", hint=f"banger vm delete {ctx.vm.name}")
        ctx.disks.grow(disk, "raw", ctx.vm.spec.disk_mib)
        return
    ctx.record("path", str(disk))
    disk.unlink(missing_ok=True)  # half-made by a start that was cut off
    seed = ctx.paths.image_dir / "work-seed.ext4"
    if seed.is_file():
        _copy(ctx, seed, disk)
    else:
        tree = ctx.paths.image_dir / "work-seed"
        ctx.disks.make_ext4(
            disk,
            ctx.vm.spec.disk_mib,
            uuid=work_uuid(ctx.vm.id),
            label="banger-work",
            content=tree if tree.is_dir() else None,
        )
    ctx.record("made", True)


def _copy(ctx: StartContext, seed: Path, disk: Path) -> None:
    """Begin with a copy of the image's work disk; the guest grows the file system to the disk's size."""
    least = -(-seed.stat().st_size >> 20)
    if ctx.vm.spec.disk_mib < least:
        raise HostError(
            f"a work disk of {ctx.vm.spec.disk_mib} MiB does not hold what '{ctx.image.name}' begins with",
            hint=f"--disk-size {least}M, or more",
        )
    copy_disk(seed, disk, lambda done, total: ctx.progress("work disk", done=done, total=total))
    ctx.disks.grow(disk, "raw", ctx.vm.spec.disk_mib)


def remove(ctx: UndoContext) -> None:
    """Remove the disk and all that was on it."""
    _path(ctx.paths).unlink(missing_ok=True)


def drives(ctx: StartContext, options: Mapping[str, Any]) -> tuple[Drive, ...]:
    """Return the disk to attach."""
    return (Drive("work", _path(ctx.paths)),)


def guest_config(ctx: StartContext, options: Mapping[str, Any]) -> GuestConfig:
    """Return where the guest mounts it."""
    return GuestConfig(mounts=(GuestMount(ctx.disks.read_uuid(_path(ctx.paths)), "/root"),))


def work_uuid(vm_id: str) -> str:
    """Return the UUID of a VM's work disk, where it was made and not copied from an image's."""
    return str(uuid.uuid5(_NAMESPACE, vm_id))


def _path(paths: VmPaths) -> Path:
    return paths.directory / "work.ext4"
