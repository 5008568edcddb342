"""Images and kernels by name, from catalogs: the one that comes with banger, and those of organisations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger.api import hookimpl

if TYPE_CHECKING:
    from banger.api import Command, ImageSource, KernelSource, Operation


@hookimpl
def banger_register_settings() -> list[str]:
    """Declare ``[plugins.images-catalog]``."""
    return ["banger_images_catalog.settings:Settings"]


@hookimpl
def banger_register_image_sources() -> list[ImageSource]:
    """Declare the bundles of catalogs, and what catalogs offer."""
    from banger.api import ImageSource
    from banger_images_catalog.source import name_entry, offer_images, pull_image

    return [ImageSource("catalog", "a bundle of a catalog", name_entry, pull_image, offers=offer_images)]


@hookimpl
def banger_register_kernel_sources() -> list[KernelSource]:
    """Declare the kernels of the same catalogs."""
    from banger.api import KernelSource
    from banger_images_catalog.source import name_entry, offer_kernels, pull_kernel

    return [KernelSource("catalog", "a bundle of a catalog", name_entry, pull_kernel, offers=offer_kernels)]


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare ``image.bundle`` and ``kernel.bundle``."""
    from banger_images_catalog.operations import OPERATIONS

    return list(OPERATIONS)


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare the commands that publish."""
    from banger.api import Command

    return [
        Command(
            "image bundle", "make a bundle of an image, for a catalog", "banger_images_catalog.commands:image"
        ),
        Command(
            "kernel bundle",
            "make a bundle of a kernel, for a catalog",
            "banger_images_catalog.commands:kernel",
        ),
    ]
