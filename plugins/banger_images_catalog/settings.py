"""``[plugins.images-catalog]``."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from banger_images_catalog.place import check_place


class Settings(BaseModel):
    """Settings of catalogs.

    :param catalogs: catalogs besides banger's own, as URLs or files (absolute, or from ``~/`` on); of several that have
        a name, the first.
    :param insecure: hosts, as host or host:port, that are spoken to without TLS.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogs: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ("localhost", "127.0.0.1")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for text in self.catalogs:
            check_place(text, self.insecure)
        return self
