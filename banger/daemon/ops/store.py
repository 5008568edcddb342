"""Operations on images and kernels."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from banger.daemon.context import OperationContext
from banger.daemon.pulls import Catalogue, available_names, content_dir, remove_tree
from banger.errors import NotFoundError
from banger.model.command import Operation
from banger.model.image import Image, Kernel
from banger.model.name import unknown_hint


class PullParams(BaseModel):
    """``reference``: a known name or ``scheme:rest``; ``name``: what to call it here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str = Field(min_length=1, max_length=512)
    name: str | None = Field(default=None, max_length=127)


class ThingParams(BaseModel):
    """One image or kernel, by name, reference or digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=512)


class Nothing(BaseModel):
    """No parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageDetail(BaseModel):
    """An image, and the VMs pinned to it."""

    image: Image
    used_by: tuple[str, ...] = ()


class KernelDetail(BaseModel):
    """A kernel, and the VMs pinned to it."""

    kernel: Kernel
    used_by: tuple[str, ...] = ()


class ImageList(BaseModel):
    """Stored images, and the references that can be pulled by name."""

    images: tuple[Image, ...]
    available: tuple[str, ...]


class KernelList(BaseModel):
    """Stored kernels, and the references that can be pulled by name."""

    kernels: tuple[Kernel, ...]
    available: tuple[str, ...]


def _image(op: OperationContext, name: str) -> Image:
    image = Catalogue(op).find_image(name)
    if image is None:
        known = [image.name for image in op.services.database.images()]
        raise NotFoundError(
            f"there is no image '{name[:80]}' here",
            hint=unknown_hint(name, known, "get one: banger image pull NAME"),
        )
    return image


def _kernel(op: OperationContext, name: str) -> Kernel:
    kernel = Catalogue(op).find_kernel(name)
    if kernel is None:
        known = [kernel.name for kernel in op.services.database.kernels()]
        raise NotFoundError(
            f"there is no kernel '{name[:80]}' here",
            hint=unknown_hint(name, known, "get one: banger kernel pull NAME"),
        )
    return kernel


def pull_image(op: OperationContext, params: PullParams) -> ImageDetail:
    """Pull an image."""
    op.services.check_configured()
    return _image_detail(op, Catalogue(op).pull_image(params.reference, params.name))


def pull_kernel(op: OperationContext, params: PullParams) -> KernelDetail:
    """Pull a kernel."""
    op.services.check_configured()
    return _kernel_detail(op, Catalogue(op).pull_kernel(params.reference, params.name))


def _image_detail(op: OperationContext, image: Image) -> ImageDetail:
    users = (vm.name for vm in op.services.database.vms() if vm.image == image.digest)
    return ImageDetail(image=image, used_by=tuple(users))


def _kernel_detail(op: OperationContext, kernel: Kernel) -> KernelDetail:
    users = (vm.name for vm in op.services.database.vms() if vm.kernel == kernel.digest)
    return KernelDetail(kernel=kernel, used_by=tuple(users))


def list_images(op: OperationContext, _: Nothing) -> ImageList:
    """List images."""
    available = available_names(op.services.registries.image_sources)
    return ImageList(images=tuple(op.services.database.images()), available=available)


def list_kernels(op: OperationContext, _: Nothing) -> KernelList:
    """List kernels."""
    available = available_names(op.services.registries.kernel_sources)
    return KernelList(kernels=tuple(op.services.database.kernels()), available=available)


def show_image(op: OperationContext, params: ThingParams) -> ImageDetail:
    """Show an image."""
    return _image_detail(op, _image(op, params.name))


def show_kernel(op: OperationContext, params: ThingParams) -> KernelDetail:
    """Show a kernel."""
    return _kernel_detail(op, _kernel(op, params.name))


def delete_image(op: OperationContext, params: ThingParams) -> ImageDetail:
    """Delete an image no VM is pinned to: first its row, which refuses, then its files."""
    name, locks = _image(op, params.name).name, op.services.locks
    with locks.hold("pull", f"image {name}", cancelled=op.cancelled), locks.hold("publish"):
        image = _image(op, name)
        op.services.database.delete_image(image.digest)
        remove_tree(content_dir(op.services.paths.images, image.digest))
    return ImageDetail(image=image)


def delete_kernel(op: OperationContext, params: ThingParams) -> KernelDetail:
    """Delete a kernel no VM is pinned to."""
    name, locks = _kernel(op, params.name).name, op.services.locks
    with locks.hold("pull", f"kernel {name}", cancelled=op.cancelled), locks.hold("publish"):
        kernel = _kernel(op, name)
        op.services.database.delete_kernel(kernel.digest)
        remove_tree(content_dir(op.services.paths.kernels, kernel.digest))
    return KernelDetail(kernel=kernel)


OPERATIONS = [
    Operation("image.pull", "get an image", PullParams, ImageDetail, pull_image),
    Operation("image.list", "list images", Nothing, ImageList, list_images),
    Operation("image.show", "show an image", ThingParams, ImageDetail, show_image),
    Operation("image.delete", "delete an image", ThingParams, ImageDetail, delete_image),
    Operation("kernel.pull", "get a kernel", PullParams, KernelDetail, pull_kernel),
    Operation("kernel.list", "list kernels", Nothing, KernelList, list_kernels),
    Operation("kernel.show", "show a kernel", ThingParams, KernelDetail, show_kernel),
    Operation("kernel.rm", "delete a kernel", ThingParams, KernelDetail, delete_kernel),
]
