"""Operations that publish images and kernels."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from banger.api import Operation, OperationContext, UsageError, parse_size

#: Characters of a path (PATH_MAX).
_PATH = 4096
_NAME = Field(default=None, max_length=127, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
_WORD = Field(default=None, max_length=64, pattern=r"^[A-Za-z0-9._+~-]*$")
_LINE = Field(default="", max_length=400, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")


class Target(BaseModel):
    """``out``: the directory for the bundle; ``catalog``: a catalog to write it into; ``url``: what it is fetched from.

    Without ``url`` the catalog names the bundle as it is seen from there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: str = Field(max_length=_PATH)
    catalog: str | None = Field(default=None, max_length=_PATH)
    url: str | None = Field(default=None, max_length=2048)
    name: str | None = _NAME
    distro: str | None = _WORD
    description: str = _LINE


class ImageBundleParams(Target):
    """``image``: one of the store; or ``rootfs_tar``: a tar's path. ``size``: of the tar's disk at least."""

    image: str | None = Field(default=None, min_length=1, max_length=512)
    rootfs_tar: str | None = Field(default=None, min_length=1, max_length=_PATH)
    arch: str | None = _WORD
    kernel_ref: str | None = Field(default=None, max_length=301, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$")
    size: int | None = None

    @field_validator("size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        if value is None:
            return None
        size = parse_size(str(value))
        if not 64 <= size <= 1 << 20:
            raise UsageError(f"--size {value} is out of range", hint="64M to 1T")
        return size


class KernelBundleParams(Target):
    """``kernel``: one of the store."""

    kernel: str = Field(min_length=1, max_length=512)


class Bundled(BaseModel):
    """A bundle: its file, SHA-256 and bytes; the entry for it, which is in ``catalog``, where one was named."""

    name: str
    path: str
    sha256: str
    size: int
    catalog: str | None = None
    entry: dict[str, str | int]


def bundle_image(op: OperationContext, params: ImageBundleParams) -> Bundled:
    """Make a bundle of an image."""
    from banger_images_catalog import publish

    return publish.bundle_image(op, params)


def bundle_kernel(op: OperationContext, params: KernelBundleParams) -> Bundled:
    """Make a bundle of a kernel."""
    from banger_images_catalog import publish

    return publish.bundle_kernel(op, params)


OPERATIONS = [
    Operation("image.bundle", "make a bundle of an image", ImageBundleParams, Bundled, bundle_image),
    Operation("kernel.bundle", "make a bundle of a kernel", KernelBundleParams, Bundled, bundle_kernel),
]
