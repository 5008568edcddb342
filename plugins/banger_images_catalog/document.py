"""A catalog's document, version 1. Whoever wrote it, nothing in it is believed that cannot be checked."""

from __future__ import annotations

import json
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from banger.api import ImageError

#: Bytes of a catalog, and entries in it.
DOCUMENT_LIMIT, ENTRY_LIMIT = 4 << 20, 10_000
#: Bytes that a bundle may have.
BUNDLE_LIMIT = 64 << 30

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$"
_WORD = r"^[A-Za-z0-9._+~-]{0,64}$"
_SHA256 = r"^[0-9a-f]{64}$"
#: A suite of Debian, or a container image by the digest of its manifest: what anybody gets the same from.
_RECIPE = r"^(?:debian:[a-z0-9.-]{1,64}|oci:[A-Za-z0-9][A-Za-z0-9._:/-]{0,300}@sha256:[0-9a-f]{64})$"

Word = Annotated[str, Field(pattern=_WORD)]
#: Text without control characters; a reference to a kernel.
Line = Annotated[str, Field(max_length=400, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
KernelRef = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,300}$")]


class _Part(BaseModel):
    # What a later banger adds is not known here, and no reason to do without the rest.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Entry(_Part):
    """What images and kernels have in common: a name, and a bundle by URL, digest and size in bytes."""

    name: str = Field(pattern=NAME)
    distro: Word = ""
    arch: Word = ""
    description: Line = ""
    url: str | None = Field(default=None, min_length=1, max_length=2048)
    sha256: str | None = Field(default=None, pattern=_SHA256)
    size: int | None = Field(default=None, ge=1, le=BUNDLE_LIMIT)

    @property
    def is_bundle(self) -> bool:
        """Whether there is a bundle."""
        return self.url is not None

    def _check_bundle(self) -> None:
        if None in (self.url, self.sha256, self.size) or not self.arch:
            raise ValueError("a bundle needs url, sha256, size and arch")


class ImageEntry(Entry):
    """An image: a bundle, or a recipe that makes it on any machine."""

    recipe: str | None = Field(default=None, pattern=_RECIPE)
    kernel_ref: KernelRef | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.recipe is None:
            self._check_bundle()
        elif (self.url, self.sha256, self.size) != (None, None, None):
            raise ValueError("either a recipe, or url, sha256 and size")
        return self


class KernelEntry(Entry):
    """A kernel, as a bundle; ``release`` is what ``uname -r`` prints."""

    release: Word = ""

    @model_validator(mode="after")
    def _bundle(self) -> Self:
        self._check_bundle()
        return self


class Document(_Part):
    """A catalog."""

    version: int
    images: tuple[ImageEntry, ...] = Field(default=(), max_length=ENTRY_LIMIT, strict=False)
    kernels: tuple[KernelEntry, ...] = Field(default=(), max_length=ENTRY_LIMIT, strict=False)

    @model_validator(mode="after")
    def _names(self) -> Self:
        for entries in (self.images, self.kernels):
            seen = set()
            for entry in entries:
                if (entry.name, entry.arch) in seen:
                    raise ValueError(f"'{entry.name}' is in it twice")
                seen.add((entry.name, entry.arch))
        return self


def parse_document(data: bytes, origin: str) -> Document:
    """Return a catalog; ImageError naming the entry and what is wrong with it."""
    value = parse_json(data, origin)
    if value.get("version") != 1 or isinstance(value.get("version"), bool):
        said = ascii(value.get("version"))[:20]
        raise ImageError(
            f"the catalog {origin} is of version {said}, known is 1", hint="a newer banger may know it"
        )
    try:
        return Document.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(ascii(part)[:40].strip("'") for part in first["loc"]) or "it"
        raise ImageError(
            f"the catalog {origin} is wrong: {where}: {ascii(first['msg'])[1:-1][:200]}"
        ) from error


def parse_json(data: bytes, origin: str) -> dict[str, Any]:
    """Return the object that a catalog is."""
    if len(data) > DOCUMENT_LIMIT:
        raise ImageError(f"the catalog {origin} is longer than {DOCUMENT_LIMIT >> 20} MiB")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"the catalog {origin} is no JSON") from error
    if not isinstance(value, dict):
        raise ImageError(f"the catalog {origin} is no JSON object")
    return value
