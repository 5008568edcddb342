"""``[plugins.snapshots]``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Settings of snapshots.

    :param limit: snapshots that a VM may have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=20, ge=1, le=1000)
