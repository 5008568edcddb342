"""``--with opencode:key=value,…``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """Options of the capability.

    :param port: let ``opencode serve`` listen there, on the guest's loopback, and wait until it does; None: no server.
    :param wait: seconds that it gets for that.
    :param install: fetch opencode where the guest has none.
    :param version: which one is fetched: a version like ``1.0.180``, or ``latest``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int | None = Field(default=None, ge=1, le=65535)
    wait: float = Field(default=60.0, ge=1, le=600)
    install: bool = True
    version: str = Field(default="latest", pattern=r"^(latest|[0-9][0-9A-Za-z.+-]{0,39})$")
