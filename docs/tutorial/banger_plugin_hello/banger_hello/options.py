"""What may follow ``--with hello:``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """Options of the capability."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: str = Field(default="World", max_length=80)
