"""Register and promote: root file systems that are on this machine already."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from banger.api import (
    BangerError,
    ConflictError,
    HostError,
    ImageError,
    PulledImage,
    UsageError,
    copy_disk,
    digest_file,
)
from banger_local.kernel_stage import stage_kernel
from banger_local.seed import seed_from_directory, seed_from_image

if TYPE_CHECKING:
    from banger.api import Image, Kernel, OperationContext, PullContext
    from banger_local.operations import RegisterParams


def check_file(text: str, what: str, *, directory: bool = False) -> Path:
    """Return the path of a file that can be read; UsageError naming the option else."""
    path = Path(text)
    kind = "directory" if directory else "file"
    if not path.is_absolute() or "\0" in text:
        raise UsageError(f"{what} {text[:200]!r} is not an absolute path", hint=f"{what} /PATH")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError(f"{what} {path}: {error.strerror}", hint=f"ls -l {path}") from error
    if not (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
        raise UsageError(f"{what} {path} is not a {kind}", hint=f"ls -ld {path}")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{what} {path} cannot be read by you", hint=f"ls -ld {path}")
    return path


def check_kernel_choice(params: RegisterParams) -> None:
    """Refuse a kernel that is named in both ways, or in half of one."""
    files = params.kernel or params.initrd or params.modules
    if params.kernel_ref and files:
        raise UsageError(
            "--kernel-ref goes with none of --kernel, --initrd and --modules", hint="name a kernel in one way"
        )
    if files and not params.kernel:
        raise UsageError("--initrd and --modules belong to a kernel", hint="--kernel FILE as well")


def register(op: OperationContext, params: RegisterParams) -> Image:
    """Use an ext4 file where it lies; a kernel given as files is taken over into the store under the image's name."""
    check_kernel_choice(params)
    name = op.store.check_free(params.name, "image")
    rootfs = check_file(params.rootfs, "--rootfs").resolve()
    try:
        op.services.disks.read_uuid(rootfs)
    except HostError as error:
        hint = "a raw image of one file system: no partition table, no qcow2"
        raise ImageError(f"{rootfs} is not an ext4 file system", hint=hint) from error
    if params.kernel_ref:
        op.store.resolve_kernel(params.kernel_ref)
    with op.staging(f"image {name}", "local") as pull:
        seed = _make_seed(op, pull, rootfs, params.work_seed)
        kernel = _take_kernel(op, params, name) if params.kernel else None
        try:
            found = kernel or (op.store.find_kernel(params.kernel_ref) if params.kernel_ref else None)
            reference = op.store.kernel_reference(found) if found else params.kernel_ref
            pulled = PulledImage(rootfs, params.distro, kernel_ref=reference, work_seed=seed, in_place=True)
            return op.publish_image(pull, name, f"register:{rootfs}", pulled)
        except BaseException:
            if kernel is not None:
                _give_back(op, kernel)
            raise


def _make_seed(op: OperationContext, pull: PullContext, rootfs: Path, directory: str | None) -> Path | None:
    if directory is not None:
        return seed_from_directory(pull, directory)
    try:
        return seed_from_image(pull, rootfs)
    except ImageError as error:
        op.event(
            "notice", text=f"{error.message}: work disks begin empty; --work-seed DIR gives them something"
        )
        return None


def _take_kernel(op: OperationContext, params: RegisterParams, name: str) -> Kernel:
    assert params.kernel is not None
    op.store.check_free(name, "kernel")
    kernel = check_file(params.kernel, "--kernel")
    initrd = check_file(params.initrd, "--initrd") if params.initrd else None
    modules = check_file(params.modules, "--modules", directory=True) if params.modules else None
    with op.staging(f"kernel {name}", "local") as pull:
        pulled = stage_kernel(
            pull.commands, pull.staging, kernel, initrd=initrd, modules=modules, arch=pull.arch
        )
        if initrd is not None:
            op.event("notice", text=f"{initrd.name} is kept; VMs boot with an initramfs of banger's own")
        return op.publish_kernel(pull, name, f"register:{kernel}", pulled)


def _give_back(op: OperationContext, kernel: Kernel) -> None:
    try:
        op.store.delete_kernel(kernel)
    except BangerError as error:
        op.event("notice", text=f"the kernel {kernel.name} stays: {error.message}")


def promote(op: OperationContext, image: Image) -> Image:
    """Copy a registered image's file into the store. Its link there is replaced in one step, under running VMs too."""
    if image.managed:
        raise ConflictError(f"'{image.name}' is in the store already", hint=f"banger image show {image.name}")
    directory = op.image_directory(image)
    source = Path(image.path)
    with op.staging(f"image {image.name}", "local") as pull:
        copy = pull.staging / "rootfs.ext4"
        copy_disk(source, copy, lambda done, total: pull.progress("copying", done=done, total=total))
        _check_same(pull, image, copy)
        # The time stays: cut off before the record is written, the copy still passes for the file it is of.
        os.utime(copy, ns=(image.mtime_ns, image.mtime_ns))
        copy.chmod(0o400)
        promoted = image.model_copy(update={"managed": True, "path": "", "mtime_ns": 0})
        with open(copy, "rb") as file:
            os.fsync(file.fileno())
        with op.services.locks.hold("publish", cancelled=op.cancelled):
            now = op.store.image(image.digest)
            if now.managed:
                return now
            copy.replace(directory / "rootfs.ext4")
            (pull.staging / "manifest.json").write_text(promoted.model_dump_json(indent=1))
            (pull.staging / "manifest.json").replace(directory / "manifest.json")
            op.services.database.update_image(promoted)
    return promoted


def _check_same(pull: PullContext, image: Image, copy: Path) -> None:
    digest = digest_file(copy, lambda done, total: pull.progress("checking", done=done, total=total))
    if digest != image.digest:
        raise ImageError(
            f"{image.path} has changed since it was registered",
            hint=f"put it back, or: banger image delete {image.name}, and register it again",
        )
