"""Images and kernels: content named by digest, kept once, shared by every VM."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

#: ``sha256:`` and 64 hexadecimal digits.
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"


class Image(BaseModel):
    """A root file system in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    digest: str = Field(pattern=DIGEST_PATTERN)
    distro: str = ""
    arch: str
    source: str = Field(description="the reference it was pulled from, scheme included")
    #: False: the file at ``path`` is the user's own and stays where it is; the store has a link to it.
    managed: bool = True
    path: str = ""
    #: When that file was changed last, nanoseconds since 1970, as it was registered.
    mtime_ns: int = 0
    #: The kernel reference to boot it with, unless the user names another.
    kernel_ref: str | None = None
    #: UUID in the ext4 superblock, by which the guest finds its root disk.
    root_uuid: str
    #: Bytes allocated on the host, and the file system's size.
    allocated_bytes: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    env: dict[str, str] = Field(default_factory=dict)
    #: Who runs commands and where, unless the caller says otherwise; empty: root, in its home.
    user: str = ""
    workdir: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    #: The packages that were asked for by name when it was built; empty where it was not built here.
    packages: tuple[str, ...] = ()
    created_at: datetime


class Kernel(BaseModel):
    """A kernel in the store: ``vmlinuz``, a modules disk, and the ``initrd.img`` it came with, if it did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    digest: str = Field(pattern=DIGEST_PATTERN)
    release: str = Field(description="what uname -r prints")
    distro: str = ""
    arch: str
    source: str
    #: SHA-256 of the file that is booted, 64 hexadecimal digits; empty in records of before it was kept.
    vmlinuz_sha256: str = ""
    #: UUID of the ext4 file system with ``/lib/modules/<release>``; None when there are no modules.
    modules_uuid: str | None = None
    #: Whether an initrd is kept with it. banger boots with an initramfs of its own.
    initrd: bool = False
    allocated_bytes: int = Field(ge=0)
    created_at: datetime
