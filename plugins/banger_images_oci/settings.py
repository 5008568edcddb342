"""``[plugins.images-oci]``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings of container images.

    :param insecure: registries, as host or host:port, that are spoken to without TLS; no credentials go there, but
        to this machine itself.
    :param kernel: the kernel that boots container images, unless another is named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    insecure: tuple[str, ...] = ("localhost", "127.0.0.1")
    kernel: str = "debian:bookworm"
