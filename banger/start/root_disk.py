"""The step that gives a VM its root disk: a private view of its image, in a form that its VMM reads."""

from __future__ import annotations

from pathlib import Path

from banger.errors import HostError
from banger.host.copy import copy_disk
from banger.model.vmm import Drive
from banger.start.context import StartContext, UndoContext

_NAMES = {"qcow2": "root.qcow2", "raw": "root.raw"}


def make_root_disk(ctx: StartContext) -> None:
    """Make the private view of the image, at the first start only: copy-on-write, or a copy that leaves holes out."""
    kind = _format_of(ctx)
    disk, size = ctx.paths.directory / _NAMES[kind], ctx.vm.spec.overlay_mib
    if ctx.recorded().get("made"):
        if not disk.exists():
            raise HostError(f"the root disk {disk} is gone", hint=f"banger vm delete {ctx.vm.name}")
        if kind not in ctx.vmm.features.disk_formats:
            raise HostError(
                f"the root disk of '{ctx.vm.name}' is {kind}, which {ctx.vmm.name} does not read",
                hint=f"make a new VM for that: banger vm create --vmm {ctx.vmm.name}",
            )
        if ctx.recorded().get("size_mib") != size:
            ctx.disks.grow(disk, kind, size)
            ctx.record("size_mib", size)
        return
    ctx.record("format", kind)
    ctx.record("path", str(disk))
    disk.unlink(missing_ok=True)  # half-made by a start that was cut off
    if kind == "qcow2":
        ctx.disks.make_overlay(disk, ctx.paths.rootfs, size)
    else:
        ctx.progress("root disk", "copying the image")
        copy_disk(ctx.paths.rootfs, disk)
        ctx.disks.grow(disk, kind, size)
    ctx.record("size_mib", size)
    ctx.record("made", True)


def _format_of(ctx: StartContext) -> str:
    """Return what a disk that is there is; for a new one, what the VMM reads."""
    if ctx.recorded().get("made"):
        return str(ctx.recorded().get("format", "qcow2"))
    return "qcow2" if "qcow2" in ctx.vmm.features.disk_formats else "raw"


def remove_root_disk(ctx: UndoContext) -> None:
    """Remove the root disk."""
    for name in _NAMES.values():
        (ctx.paths.directory / name).unlink(missing_ok=True)


def root_drive(directory: Path) -> Drive:
    """Return the root disk that is there."""
    kind = "raw" if (directory / _NAMES["raw"]).exists() else "qcow2"
    return Drive("root", directory / _NAMES[kind], kind)
