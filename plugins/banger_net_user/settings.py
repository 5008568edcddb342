"""``[plugins.net-user]``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings of user-mode networking.

    :param restrict: VMs get no way out; published ports still lead in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    restrict: bool = False
