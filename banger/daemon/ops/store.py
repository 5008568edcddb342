"""Operations on images and kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from banger.daemon.context import OperationContext
from banger.daemon.offers import list_offers
from banger.daemon.pulls import Catalogue, ImageWish
from banger.errors import UsageError
from banger.model.command import Operation
from banger.model.image import Image, Kernel
from banger.model.size import parse_size
from banger.model.source import Offer

#: MiB: what a distribution needs, and the most that ext4 with 4 KiB blocks holds.
_LEAST_SIZE, _MOST_SIZE = 64, 16 * 1024 * 1024


class PullParams(BaseModel):
    """``reference``: a known name or ``scheme:rest``; ``name``: what to call it here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str = Field(min_length=1, max_length=512)
    name: str | None = Field(default=None, max_length=127)


class ImagePullParams(PullParams):
    """``kernel_ref``: the kernel to boot it with, or its files, by path; ``size``: of its disk at least (``4G``)."""

    kernel_ref: str | None = Field(default=None, min_length=1, max_length=512)
    kernel: str | None = Field(default=None, min_length=1, max_length=4096)
    initrd: str | None = Field(default=None, min_length=1, max_length=4096)
    modules: str | None = Field(default=None, min_length=1, max_length=4096)
    size: str | None = Field(default=None, min_length=1, max_length=32)


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


class ListParams(Nothing):
    """``ask``: ask catalogs what they have now, not what they said last."""

    ask: bool = False


class Available(BaseModel):
    """What can be pulled; ``bytes``: what is fetched or, once here, taken, where that is known."""

    name: str
    reference: str
    state: Literal["pulled", "available"]
    bytes: int | None = None
    distro: str = ""
    kernel_ref: str | None = None
    description: str = ""


class ImageList(BaseModel):
    """Stored images, and what can be pulled: by name, and with what is known of it."""

    images: tuple[Image, ...]
    available: tuple[str, ...]
    offers: tuple[Available, ...] = ()


class KernelList(BaseModel):
    """Stored kernels, and what can be pulled: by name, and with what is known of it."""

    kernels: tuple[Kernel, ...]
    available: tuple[str, ...]
    offers: tuple[Available, ...] = ()


def pull_image(op: OperationContext, params: ImagePullParams) -> ImageDetail:
    """Pull an image."""
    op.services.check_configured()
    wish = ImageWish(params.name, params.kernel_ref, _kernel_files(params), _parse_size(params.size))
    return _image_detail(op, Catalogue(op).pull_image(params.reference, wish))


def _kernel_files(params: ImagePullParams) -> str | None:
    """Return the files of a kernel, in lines; UsageError when a kernel is named in both ways, or in half of one."""
    files = [params.kernel or "", params.initrd or "", params.modules or ""]
    if params.kernel_ref and any(files):
        raise UsageError(
            "--kernel-ref goes with none of --kernel, --initrd and --modules", hint="name a kernel in one way"
        )
    if any(files) and not params.kernel:
        raise UsageError("--initrd and --modules belong to a kernel", hint="--kernel FILE as well")
    return "\n".join(files).rstrip("\n") or None


def _parse_size(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        size = parse_size(text)
    except UsageError as error:
        raise UsageError(f"--size: {error.message}", hint=error.hint) from error
    if not _LEAST_SIZE <= size <= _MOST_SIZE:
        raise UsageError(f"--size {text} is out of range", hint="64M to 16T")
    return size


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


def list_images(op: OperationContext, params: ListParams) -> ImageList:
    """List images."""
    images = op.services.database.images()
    offers = list_offers(op, op.services.registries.image_sources, ask=params.ask)
    names = tuple(offer.name for offer in offers)
    return ImageList(images=tuple(images), available=names, offers=_available(offers, images))


def list_kernels(op: OperationContext, params: ListParams) -> KernelList:
    """List kernels."""
    kernels = op.services.database.kernels()
    offers = list_offers(op, op.services.registries.kernel_sources, ask=params.ask)
    names = tuple(offer.name for offer in offers)
    return KernelList(kernels=tuple(kernels), available=names, offers=_available(offers, kernels))


def _available(offers: Sequence[Offer], stored: Sequence[Image | Kernel]) -> tuple[Available, ...]:
    here = {thing.source: thing for thing in stored}
    return tuple(
        Available(
            name=offer.name,
            reference=offer.reference,
            state="pulled" if offer.reference in here else "available",
            bytes=here[offer.reference].allocated_bytes if offer.reference in here else offer.size,
            distro=offer.distro,
            kernel_ref=offer.kernel_ref,
            description=offer.description,
        )
        for offer in offers
    )


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
    Operation("image.pull", "get an image", ImagePullParams, ImageDetail, pull_image),
    Operation("image.list", "list images", ListParams, ImageList, list_images),
    Operation("image.show", "show an image", ThingParams, ImageDetail, show_image),
    Operation("image.delete", "delete an image", ThingParams, ImageDetail, delete_image),
    Operation("kernel.pull", "get a kernel", KernelPullParams, KernelDetail, pull_kernel),
    Operation("kernel.list", "list kernels", ListParams, KernelList, list_kernels),
    Operation("kernel.show", "show a kernel", ThingParams, KernelDetail, show_kernel),
    Operation("kernel.rm", "delete a kernel", ThingParams, KernelDetail, delete_kernel),
]
