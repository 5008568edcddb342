"""Certificate authorities of the host's that guests trust as well, where the user names their files."""

from __future__ import annotations

from banger.api import StartStep, hookimpl


@hookimpl
def banger_register_settings() -> list[str]:
    """Declare ``[plugins.authorities]``."""
    return ["banger_authorities.settings:Settings"]


@hookimpl
def banger_register_start_steps() -> list[StartStep]:
    """Declare the step that brings the certificates; it does nothing where no file is named."""
    from banger_authorities.step import bring

    return [StartStep("authorities", bring, after=("guest",), before=("guest-ready",))]
