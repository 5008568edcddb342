"""Container images, from registries and from files (schemes ``oci…`` and ``docker-archive``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger.api import hookimpl

if TYPE_CHECKING:
    from banger.api import Check, Command, ImageSource, Operation


@hookimpl
def banger_register_settings() -> list[str]:
    """Declare ``[plugins.images-oci]``."""
    return ["banger_images_oci.settings:Settings"]


@hookimpl
def banger_register_image_sources() -> list[ImageSource]:
    """Declare a registry's images and three kinds of file."""
    from banger.api import ImageSource
    from banger_images_oci.source import name_file, name_reference, pull_file, pull_reference

    return [
        ImageSource("oci", "a container registry", name_reference, pull_reference),
        ImageSource("oci-layout", "a directory in the OCI layout", name_file, pull_file),
        ImageSource("oci-archive", "a tar of an OCI layout", name_file, pull_file),
        ImageSource("docker-archive", "a tar that docker save wrote", name_file, pull_file),
    ]


@hookimpl
def banger_register_checks() -> list[Check]:
    """Declare what doctor looks at."""
    from banger_images_oci.checks import CHECKS

    return list(CHECKS)


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare ``image.cache.prune``."""
    from banger_images_oci.cache import OPERATIONS

    return list(OPERATIONS)


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``image cache prune``."""
    from banger.api import Command

    return [
        Command(
            "image cache prune", "empty the cache of container images", "banger_images_oci.commands:prune"
        )
    ]
