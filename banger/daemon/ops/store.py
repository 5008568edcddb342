"""Operations on images and kernels."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from banger.daemon.context import OperationContext
from banger.daemon.pulls import Catalogue, available_names, known_names
from banger.model.command import Operation
from banger.model.image import Image, Kernel
from banger.model.source import KernelSource


class PullParams(BaseModel):
    """``reference``: a known name or ``scheme:rest``; ``name``: what to call it here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str = Field(min_length=1, max_length=512)
    name: str | None = Field(default=None, max_length=127)


class KernelPullParams(PullParams):
    """``force``: get it again though it is here."""

    force: bool = False


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


class KernelOffer(BaseModel):
    """A kernel that a source is known to have; ``bytes``: what it takes, or about, where that is known."""

    name: str
    reference: str
    state: Literal["pulled", "available"]
    bytes: int | None


class KernelList(BaseModel):
    """Stored kernels, and what can be pulled: by name, and with what is known of it."""

    kernels: tuple[Kernel, ...]
    available: tuple[str, ...]
    offers: tuple[KernelOffer, ...] = ()


def pull_image(op: OperationContext, params: PullParams) -> ImageDetail:
    """Pull an image."""
    op.services.check_configured()
    return _image_detail(op, Catalogue(op).pull_image(params.reference, params.name))


def pull_kernel(op: OperationContext, params: KernelPullParams) -> KernelDetail:
    """Pull a kernel."""
    op.services.check_configured()
    return _kernel_detail(op, Catalogue(op).pull_kernel(params.reference, params.name, force=params.force))


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
    sources = op.services.registries.kernel_sources
    stored = {kernel.source: kernel for kernel in op.services.database.kernels()}
    offers = [
        _offer(name, source, known, stored.get(f"{source.scheme}:{known}"))
        for name, found in sorted(known_names(sources).items())
        for source, known in found
    ]
    return KernelList(
        kernels=tuple(op.services.database.kernels()),
        available=available_names(sources),
        offers=tuple(offers),
    )


def _offer(name: str, source: KernelSource, known: str, here: Kernel | None) -> KernelOffer:
    size = here.allocated_bytes if here else source.size(known) if source.size else None
    state: Literal["pulled", "available"] = "pulled" if here else "available"
    return KernelOffer(name=name, reference=f"{source.scheme}:{known}", state=state, bytes=size)


def show_image(op: OperationContext, params: ThingParams) -> ImageDetail:
    """Show an image."""
    return _image_detail(op, Catalogue(op).image(params.name))


def show_kernel(op: OperationContext, params: ThingParams) -> KernelDetail:
    """Show a kernel."""
    return _kernel_detail(op, Catalogue(op).kernel(params.name))


def delete_image(op: OperationContext, params: ThingParams) -> ImageDetail:
    """Delete an image no VM is pinned to."""
    store = Catalogue(op)
    name = store.image(params.name).name
    with op.services.locks.hold("pull", f"image {name}", cancelled=op.cancelled):
        image = store.image(name)
        store.delete_image(image)
    return ImageDetail(image=image)


def delete_kernel(op: OperationContext, params: ThingParams) -> KernelDetail:
    """Delete a kernel that no VM is pinned to and no image needs."""
    store = Catalogue(op)
    name = store.kernel(params.name).name
    with op.services.locks.hold("pull", f"kernel {name}", cancelled=op.cancelled):
        kernel = store.kernel(name)
        store.delete_kernel(kernel)
    return KernelDetail(kernel=kernel)


OPERATIONS = [
    Operation("image.pull", "get an image", PullParams, ImageDetail, pull_image),
    Operation("image.list", "list images", Nothing, ImageList, list_images),
    Operation("image.show", "show an image", ThingParams, ImageDetail, show_image),
    Operation("image.delete", "delete an image", ThingParams, ImageDetail, delete_image),
    Operation("kernel.pull", "get a kernel", KernelPullParams, KernelDetail, pull_kernel),
    Operation("kernel.list", "list kernels", Nothing, KernelList, list_kernels),
    Operation("kernel.show", "show a kernel", ThingParams, KernelDetail, show_kernel),
    Operation("kernel.rm", "delete a kernel", ThingParams, KernelDetail, delete_kernel),
]
