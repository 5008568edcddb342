"""Operations on images and kernels of this machine."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from banger.api import Image, Kernel, Operation, OperationContext

#: Characters of a path (PATH_MAX).
_PATH = 4096


class _Params(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RegisterParams(_Params):
    """``rootfs``: an ext4 file. ``kernel_ref``: a kernel here or one that can be pulled; or a kernel's files."""

    name: str = Field(max_length=127)
    rootfs: str = Field(max_length=_PATH)
    distro: str = Field(default="", max_length=64, pattern=r"^[a-z0-9._-]*$")
    kernel_ref: str | None = Field(default=None, min_length=1, max_length=512)
    kernel: str | None = Field(default=None, max_length=_PATH)
    initrd: str | None = Field(default=None, max_length=_PATH)
    modules: str | None = Field(default=None, max_length=_PATH)
    work_seed: str | None = Field(default=None, max_length=_PATH)


class NamedParams(_Params):
    """One image, by name, reference or digest."""

    name: str = Field(min_length=1, max_length=512)


class SeedParams(NamedParams):
    """``directory``: of this machine; without it the image's ``/root``."""

    directory: str | None = Field(default=None, max_length=_PATH)


class CommitParams(_Params):
    """``vm``: a VM that is stopped or runs; ``name``: of the new image."""

    vm: str = Field(min_length=1, max_length=128)
    name: str = Field(max_length=127)


class ExportParams(NamedParams):
    """``path``: the file to write; ``force``: also over one that is there; ``kernel``: with its kernel."""

    path: str = Field(max_length=_PATH)
    force: bool = False
    kernel: bool = True


class ImportParams(_Params):
    """``path``: an archive; ``name``: what to call the image here, else what the archive says."""

    path: str = Field(max_length=_PATH)
    name: str | None = Field(default=None, max_length=127)


class KernelImportParams(_Params):
    """``directory``: what holds a kernel; ``arch``: ``uname -m``, this machine's unless said."""

    name: str = Field(max_length=127)
    directory: str = Field(max_length=_PATH)
    distro: str | None = Field(default=None, max_length=64, pattern=r"^[a-z0-9._-]*$")
    arch: str | None = Field(default=None, max_length=32, pattern=r"^[a-z0-9_]+$")


class ImageResult(BaseModel):
    """An image."""

    image: Image


class ImportResult(BaseModel):
    """What an archive brought; ``kernel`` is None when there was none in it."""

    image: Image
    kernel: Kernel | None = None


class ExportResult(BaseModel):
    """The archive: ``size`` in bytes, ``digest`` of the whole file; the kernel that is in it."""

    image: Image
    path: str
    size: int
    digest: str
    kernel: str | None = None


class KernelResult(BaseModel):
    """A kernel."""

    kernel: Kernel


def register_image(op: OperationContext, params: RegisterParams) -> ImageResult:
    """Use a root file system of this machine where it lies."""
    from banger_local.register import register

    return ImageResult(image=register(op, params))


def promote_image(op: OperationContext, params: NamedParams) -> ImageResult:
    """Copy a registered image into the store."""
    from banger_local.register import promote

    return ImageResult(image=promote(op, op.store.image(params.name)))


def commit_vm(op: OperationContext, params: CommitParams) -> ImageResult:
    """Make an image of a VM's disks."""
    from banger_local.commit import commit

    return ImageResult(image=commit(op, op.vm(params.vm), params.name))


def seed_image(op: OperationContext, params: SeedParams) -> ImageResult:
    """Renew what work disks of an image's new VMs begin with."""
    from banger_local.seed import renew_seed

    image = op.store.image(params.name)
    renew_seed(op, image, params.directory)
    return ImageResult(image=image)


def export_image(op: OperationContext, params: ExportParams) -> ExportResult:
    """Write an image and its kernel to a file."""
    from banger_local.export import export

    return export(op, op.store.image(params.name), params)


def import_image(op: OperationContext, params: ImportParams) -> ImportResult:
    """Read an image, and its kernel, from a file."""
    from banger_local.export import import_archive

    image, kernel = import_archive(op, params.path, params.name)
    return ImportResult(image=image, kernel=kernel)


def import_kernel(op: OperationContext, params: KernelImportParams) -> KernelResult:
    """Take over a kernel of a directory."""
    from banger_local.kernels import import_directory

    return KernelResult(kernel=import_directory(op, params))


OPERATIONS = [
    Operation(
        "image.register",
        "use a root file system of this machine",
        RegisterParams,
        ImageResult,
        register_image,
    ),
    Operation(
        "image.promote", "copy a registered image into the store", NamedParams, ImageResult, promote_image
    ),
    Operation("image.commit", "make an image of a VM's disks", CommitParams, ImageResult, commit_vm),
    Operation("image.seed", "renew what work disks begin with", SeedParams, ImageResult, seed_image),
    Operation("image.export", "write an image to a file", ExportParams, ExportResult, export_image),
    Operation("image.import", "read an image from a file", ImportParams, ImportResult, import_image),
    Operation("kernel.import", "take over a kernel", KernelImportParams, KernelResult, import_kernel),
]
