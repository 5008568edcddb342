"""``[plugins.vmm-qemu]``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings of the QEMU plugin.

    :param extra_arguments: appended to every command line, for what banger does not offer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    extra_arguments: tuple[str, ...] = ()
