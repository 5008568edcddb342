"""The step that gives a VM its root disk: a private view of its image, in a form that its VMM reads.

``qcow2`` is a file over the image's. For VMMs that read no such file, ``snapshot`` is a block device that the
device-mapper makes at each start from the image and a file of changes, where this process may have that made and open
it; ``raw`` is a copy: a reflink, or one that leaves holes out.
"""

from __future__ import annotations

import os
from pathlib import Path

from banger.errors import HostError
from banger.helper.requests import ReleaseDisk, SnapshotDisk
from banger.host.copy import copy_disk
from banger.model.vmm import Drive
from banger.start.context import StartContext, UndoContext

_NAMES = {"qcow2": "root.qcow2", "snapshot": "root.changes", "raw": "root.raw"}
_MAPPER = Path("/dev/mapper")


def make_root_disk(ctx: StartContext) -> None:
    """Make the private view of the image, at the first start only; a snapshot's device at each."""
    kind = str(ctx.recorded().get("format", "qcow2")) if ctx.recorded().get("made") else _choose(ctx)
    disk = ctx.paths.directory / _NAMES[kind]
    if not ctx.recorded().get("made"):
        _make(ctx, kind, disk)
    elif not disk.exists():
        raise HostError(f"the root disk {disk} is gone", hint=f"banger vm delete {ctx.vm.name}")
    elif (kind if kind == "qcow2" else "raw") not in ctx.vmm.features.disk_formats:
        raise HostError(
            f"the root disk of '{ctx.vm.name}' is {kind}, which {ctx.vmm.name} does not read",
            hint=f"make a new VM for that: banger vm create --vmm {ctx.vmm.name}",
        )
    elif ctx.recorded().get("size_mib") != ctx.vm.spec.overlay_mib and kind != "snapshot":
        ctx.disks.grow(disk, kind, ctx.vm.spec.overlay_mib)
    ctx.record("size_mib", ctx.vm.spec.overlay_mib)
    if kind == "snapshot":
        files = os.fspath(ctx.paths.rootfs.resolve()), os.fspath(disk.resolve())
        ctx.privileged.call(SnapshotDisk(ctx.vm.id, *files, ctx.vm.spec.overlay_mib))


def _choose(ctx: StartContext) -> str:
    if "qcow2" in ctx.vmm.features.disk_formats:
        return "qcow2"
    # The device is root's: a VMM can open it that this process starts as root, or the helper in a jail.
    how = ctx.privileged.find()
    opens = how == "process" or (how == "helper" and ctx.vmm.features.jailed)
    mapped = opens and (_MAPPER / "control").exists()
    return "snapshot" if mapped and ctx.commands.find("dmsetup") is not None else "raw"


def _make(ctx: StartContext, kind: str, disk: Path) -> None:
    ctx.record("format", kind)
    ctx.record("path", str(disk))
    disk.unlink(missing_ok=True)  # half-made by a start that was cut off
    if kind == "qcow2":
        ctx.disks.make_overlay(disk, ctx.paths.rootfs, ctx.vm.spec.overlay_mib)
    elif kind == "snapshot":
        os.close(os.open(disk, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    else:
        ctx.progress("root disk", "copying the image")
        copy_disk(ctx.paths.rootfs, disk)
        ctx.disks.grow(disk, kind, ctx.vm.spec.overlay_mib)
    ctx.record("made", True)


def release_root_disk(ctx: UndoContext) -> None:
    """Take a snapshot's device down; its name is the VM's, whatever was recorded."""
    if (ctx.paths.directory / _NAMES["snapshot"]).exists():
        ctx.privileged.call(ReleaseDisk(ctx.vm.id))


def remove_root_disk(ctx: UndoContext) -> None:
    """Remove the root disk."""
    release_root_disk(ctx)
    for name in _NAMES.values():
        (ctx.paths.directory / name).unlink(missing_ok=True)


def root_drive(ctx: StartContext) -> Drive:
    """Return the root disk that was made."""
    if (ctx.paths.directory / _NAMES["snapshot"]).exists():
        return Drive("root", _MAPPER / f"banger-{ctx.vm.id}")
    kind = "raw" if (ctx.paths.directory / _NAMES["raw"]).exists() else "qcow2"
    return Drive("root", ctx.paths.directory / _NAMES[kind], kind)
