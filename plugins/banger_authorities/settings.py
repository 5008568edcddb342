"""``[plugins.authorities]``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Settings of certificate authorities.

    :param files: files of this host with certificates in PEM, which every VM trusts from its next start on; absolute
        or from ``~``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...] = Field(default=(), max_length=16)
