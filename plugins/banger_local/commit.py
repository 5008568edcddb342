"""Commit: a VM's disks become an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from banger.api import ConflictError, PulledImage, copy_disk
from banger_local.flatten import flatten_disk, shrink_ext4
from banger_local.snapshot import flatten_snapshot

if TYPE_CHECKING:
    from banger.api import Image, OperationContext, PullContext, Vm

#: The disks of a VM, as the steps that make them call them.
ROOTS, WORK = ("root.qcow2", "root.raw", "root.changes"), "work.ext4"


def commit(op: OperationContext, vm: Vm, name: str) -> Image:
    """Make an image of a VM's root disk, and of its work disk what new VMs' work disks begin as.

    A running VM stands still while its disks are copied, and for nothing else.
    """
    op.store.check_free(name, "image")
    base, kernel = op.store.image(vm.image), op.store.kernel(vm.kernel)
    with op.staging(f"image {name}", "local") as pull:
        root, seed = copy_disks(op, vm, pull)
        pull.progress("flattening", "the root disk and the image below it")
        rootfs = pull.staging / "rootfs.ext4"
        _flatten(op, vm, root, rootfs)
        for disk in filter(None, (rootfs, seed)):
            pull.progress("shrinking", disk.name)
            shrink_ext4(pull.commands, disk)
        pulled = PulledImage(
            rootfs,
            base.distro,
            kernel_ref=op.store.kernel_reference(kernel),
            work_seed=seed,
            env=base.env,
            user=base.user,
            workdir=base.workdir,
            entrypoint=base.entrypoint,
            cmd=base.cmd,
            packages=base.packages,
        )
        return op.publish_image(pull, name, f"commit:{vm.name}", pulled)


def _flatten(op: OperationContext, vm: Vm, root: Path, rootfs: Path) -> None:
    """Make of a root disk's copy, which goes, a file of its own: what it shows together with the image."""
    if root.suffix == ".raw":
        root.rename(rootfs)
        return
    if root.suffix == ".changes":
        image = op.image_directory(op.store.image(vm.image)) / "rootfs.ext4"
        flatten_snapshot(image, root, rootfs, vm.spec.overlay_mib << 20)
    else:
        flatten_disk(op.services.commands, root, rootfs)
    root.unlink()


def _has_content(disk: Path) -> bool:
    return disk.is_file() and disk.stat().st_size > 0


def copy_disks(op: OperationContext, vm: Vm, pull: PullContext) -> tuple[Path, Path | None]:
    """Copy a VM's disks into staging as they are at one moment; the root disk's copy, and the work disk's, if any."""
    with op.quiet_disks(vm) as directory:
        root = next((name for name in ROOTS if _has_content(directory / name)), None)
        if root is None:
            raise ConflictError(
                f"'{vm.name}' was never started: it has no disk yet", hint=f"banger vm start {vm.name}"
            )
        for disk in (root, WORK):
            if (directory / disk).is_file():
                copy_disk(
                    directory / disk,
                    pull.staging / disk,
                    lambda done, total: pull.progress("copying disks", done=done, total=total),
                )
    seed = pull.staging / WORK
    return pull.staging / root, seed if seed.is_file() else None
