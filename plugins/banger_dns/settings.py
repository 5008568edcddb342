"""``[plugins.dns]``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Settings of the name server.

    :param port: UDP and TCP port on 127.0.0.1; when it is taken, the next free one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = Field(default=42069, ge=1, le=65535)
