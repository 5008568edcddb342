"""Images of Debian, built on this machine from the distribution's own packages (scheme ``debian``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger.api import hookimpl

if TYPE_CHECKING:
    from banger.api import Check, ImageSource


@hookimpl
def banger_register_image_sources() -> list[ImageSource]:
    from banger.api import ImageSource
    from banger_images_debian.recipes import RECIPES, default_name
    from banger_images_debian.source import pull

    summary = "Debian, built by mmdebstrap from signed packages"
    return [ImageSource("debian", summary, default_name, pull, known=tuple(RECIPES))]


@hookimpl
def banger_register_checks() -> list[Check]:
    from banger_images_debian.checks import CHECKS

    return list(CHECKS)
