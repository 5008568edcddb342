"""The manifest: what an image archive says it holds. Nothing in it is believed that cannot be checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from banger.api import Image, ImageError, Kernel

if TYPE_CHECKING:
    from typing import Self

#: Members of an archive after its manifest, in this order; the first is always there.
ROOTFS, SEED, VMLINUZ, MODULES, INITRD = (
    "rootfs.ext4",
    "work-seed.ext4",
    "vmlinuz",
    "modules.ext4",
    "initrd.img",
)
MEMBERS = (ROOTFS, SEED, VMLINUZ, MODULES, INITRD)
#: Bytes that members have at most: file systems, and what a host reads into memory or copies for each start.
LIMITS = {ROOTFS: 1 << 40, SEED: 1 << 40, VMLINUZ: 1 << 30, MODULES: 1 << 34, INITRD: 1 << 30}

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$"
_WORD = r"^[A-Za-z0-9._+~-]{0,64}$"
#: Text without control characters.
_LINE = r"^[^\x00-\x1f\x7f-\x9f]{0,4096}$"
Line = Annotated[str, Field(pattern=_LINE)]
#: The name of an environment variable; text that a program can be given.
Variable = Annotated[str, Field(pattern=r"^[^\x00-\x1f=]{1,4096}$")]
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(_Part):
    """A file of the archive, ``size`` in bytes."""

    name: Literal["rootfs.ext4", "work-seed.ext4", "vmlinuz", "modules.ext4", "initrd.img"]
    size: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ArchivedImage(_Part):
    """How the image is called and wants to be run."""

    name: str = Field(pattern=_NAME)
    distro: str = Field(default="", pattern=_WORD)
    arch: str = Field(pattern=_WORD)
    #: Where the kernel can be had when it is not in the archive.
    kernel_ref: str | None = Field(default=None, max_length=512, pattern=_LINE)
    env: dict[Variable, Text] = Field(default_factory=dict, max_length=1024)
    user: Line = ""
    workdir: Line = ""
    entrypoint: tuple[Text, ...] = Field(default=(), max_length=1024)
    cmd: tuple[Text, ...] = Field(default=(), max_length=1024)
    packages: tuple[Line, ...] = Field(default=(), max_length=4096)


class ArchivedKernel(_Part):
    """The kernel in the archive."""

    name: str = Field(pattern=_NAME)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    release: str = Field(pattern=r"^[0-9][A-Za-z0-9._+~-]{0,63}$")
    distro: str = Field(default="", pattern=_WORD)
    arch: str = Field(pattern=_WORD)


class Manifest(_Part):
    """The first member of an archive."""

    format: Literal["banger-image"] = "banger-image"
    version: Literal[1] = 1
    image: ArchivedImage
    kernel: ArchivedKernel | None = None
    members: tuple[Member, ...] = Field(min_length=1, max_length=len(MEMBERS))

    @model_validator(mode="after")
    def _members(self) -> Self:
        names = [member.name for member in self.members]
        if names != [name for name in MEMBERS if name in names] or ROOTFS not in names:
            raise ValueError("its members are not in order")
        if (self.kernel is not None) != (VMLINUZ in names) or (
            self.kernel is None and {MODULES, INITRD} & set(names)
        ):
            raise ValueError("a kernel and its files come together or not at all")
        large = next((member.name for member in self.members if member.size > LIMITS[member.name]), None)
        if large is not None:
            raise ValueError(f"{large} is too large")
        return self


def describe_image(image: Image) -> ArchivedImage:
    """Return what an archive says of an image of the store."""
    return ArchivedImage(
        name=image.name,
        distro=image.distro,
        arch=image.arch,
        kernel_ref=image.kernel_ref,
        env=image.env,
        user=image.user,
        workdir=image.workdir,
        entrypoint=image.entrypoint,
        cmd=image.cmd,
        packages=image.packages,
    )


def describe_kernel(kernel: Kernel) -> ArchivedKernel:
    """Return what an archive says of a kernel of the store."""
    return ArchivedKernel(
        name=kernel.name,
        digest=kernel.digest,
        release=kernel.release,
        distro=kernel.distro,
        arch=kernel.arch,
    )


def parse_manifest(data: bytes) -> Manifest:
    """Return an archive's manifest; ImageError when it is none, saying what is wrong first."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"][:1] == ("version",):
            raise ImageError("a newer banger wrote this archive", hint="upgrade banger") from error
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise ImageError(
            f"the archive's manifest is not right: {where[:80]}: {first['msg'][:200]}"
        ) from error
    except ValueError as error:
        raise ImageError("the archive's manifest is not right") from error
