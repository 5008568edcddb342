"""Commit: a VM's disks become an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from banger.api import ConflictError, PulledImage, copy_disk
from banger_local.flatten import flatten_disk, shrink_ext4

if TYPE_CHECKING:
    from banger.api import Image, OperationContext, PullContext, Vm

#: The disks of a VM, as the steps that make them call them.
ROOT, WORK = "root.qcow2", "work.ext4"


def commit(op: OperationContext, vm: Vm, name: str) -> Image:
    """Make an image of a VM's root disk, and of its work disk what new VMs' work disks begin as.

    A running VM stands still while its disks are copied, and for nothing else.
    """
    op.store.check_free(name, "image")
    base, kernel = op.store.image(vm.image), op.store.kernel(vm.kernel)
    with op.staging(f"image {name}", "local") as pull:
        seed = copy_disks(op, vm, pull)
        pull.progress("flattening", "the root disk and the image below it")
        rootfs = pull.staging / "rootfs.ext4"
        flatten_disk(pull.commands, pull.staging / ROOT, rootfs)
        (pull.staging / ROOT).unlink()
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


def copy_disks(op: OperationContext, vm: Vm, pull: PullContext) -> Path | None:
    """Copy a VM's disks into staging as they are at one moment; the work disk's copy, if it has one."""
    with op.quiet_disks(vm) as directory:
        if not (directory / ROOT).is_file():
            raise ConflictError(
                f"'{vm.name}' was never started: it has no disk yet", hint=f"banger vm start {vm.name}"
            )
        seed = None
        for disk in (ROOT, WORK):
            if (directory / disk).is_file():
                copy = pull.staging / disk
                copy_disk(
                    directory / disk,
                    copy,
                    lambda done, total: pull.progress("copying disks", done=done, total=total),
                )
                seed = copy if disk == WORK else seed
    return seed
