"""Bundles: a zstd stream of a tar with exactly ``rootfs.ext4`` and ``manifest.json``, or a kernel's files and that."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from banger.api import (
    MANIFEST_LIMIT,
    ArchiveReader,
    ArchiveWriter,
    HostError,
    ImageError,
    PulledImage,
    PulledKernel,
)
from banger_images_catalog.document import NAME, Entry, KernelRef, Line, Word

if TYPE_CHECKING:
    from banger.api import PullContext

MANIFEST, ROOTFS, VMLINUZ, MODULES, INITRD = (
    "manifest.json",
    "rootfs.ext4",
    "vmlinuz",
    "modules.ext4",
    "initrd.img",
)
#: What a file system may have that grew from a bundle: so much in any case, so many times the bundle, never more.
FREE_BYTES, MOST_RATIO, MOST_BYTES = 1 << 30, 1000, 1 << 40
#: Bytes of a kernel and of an initrd.
_KERNEL_LIMIT = 1 << 28
#: How hard zstd tries: a bundle is made once and fetched often.
_LEVEL = 6

#: The name of an environment variable; text that a program can be given.
Variable = Annotated[str, Field(pattern=r"^[^\x00-\x1f=]{1,4096}$")]
Text = Annotated[str, Field(max_length=131072, pattern=r"^[^\x00]*$")]


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = Field(default=1, ge=1, le=1)
    name: str = Field(pattern=NAME)
    distro: Word = ""
    arch: Word
    description: Line = ""


class ImageManifest(_Manifest):
    """How an image wants to be booted and run."""

    kernel_ref: KernelRef | None = None
    env: dict[Variable, Text] = Field(default_factory=dict, max_length=1024)
    user: Line = ""
    workdir: Line = ""
    entrypoint: tuple[Text, ...] = Field(default=(), max_length=1024)
    cmd: tuple[Text, ...] = Field(default=(), max_length=1024)
    packages: tuple[Line, ...] = Field(default=(), max_length=4096)


class KernelManifest(_Manifest):
    """A kernel; ``release`` is what ``uname -r`` prints."""

    release: Word


M = TypeVar("M", ImageManifest, KernelManifest)


def write_bundle(
    file: IO[bytes], manifest: _Manifest, members: Mapping[str, Path], report: Callable[[int, int], None]
) -> None:
    """Write a bundle: the same manifest and files give the same bytes.

    :param report: called with the bytes that went in so far, and all.
    """
    writer = ArchiveWriter(file, _LEVEL)
    text = manifest.model_dump_json(indent=1, exclude_defaults=True).encode()
    writer.add(MANIFEST, io.BytesIO(text), len(text))
    total, done = sum(path.stat().st_size for path in members.values()), 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        report(done, total)

    for name, path in members.items():
        with open(path, "rb") as content:
            writer.add(name, content, path.stat().st_size, count)
    writer.close()


def unpack_image(ctx: PullContext, bundle: Path, entry: Entry) -> PulledImage:
    """Unpack an image's bundle into staging; ImageError when it is not what it should be."""
    limit = _file_system_limit(bundle)
    found = _unpack(ctx, bundle, {MANIFEST: MANIFEST_LIMIT, ROOTFS: limit})
    _check_members(found, (MANIFEST, ROOTFS), entry)
    manifest = _parse(ctx.staging / MANIFEST, ImageManifest, entry)
    _check_arch(manifest, ctx, entry)
    rootfs = ctx.staging / ROOTFS
    _check_ext4(ctx, rootfs, entry)
    return PulledImage(
        rootfs,
        manifest.distro or entry.distro,
        kernel_ref=manifest.kernel_ref,
        env=manifest.env,
        user=manifest.user,
        workdir=manifest.workdir,
        entrypoint=manifest.entrypoint,
        cmd=manifest.cmd,
        packages=manifest.packages,
    )


def unpack_kernel(ctx: PullContext, bundle: Path, entry: Entry) -> PulledKernel:
    """Unpack a kernel's bundle into staging; ImageError when it is not what it should be."""
    limits = {
        MANIFEST: MANIFEST_LIMIT,
        VMLINUZ: _KERNEL_LIMIT,
        MODULES: min(_file_system_limit(bundle), 1 << 34),
        INITRD: _KERNEL_LIMIT,
    }
    found = _unpack(ctx, bundle, limits)
    _check_members(found, (MANIFEST, VMLINUZ), entry)
    manifest = _parse(ctx.staging / MANIFEST, KernelManifest, entry)
    _check_arch(manifest, ctx, entry)
    with open(ctx.staging / VMLINUZ, "rb") as file:
        head = file.read(0x206)
    if not (head.startswith(b"\x7fELF") or head[0x202:] == b"HdrS" or head[56:60] == b"ARM\x64"):
        raise ImageError(f"the vmlinuz of '{entry.name}' is no kernel")
    if MODULES in found:
        _check_ext4(ctx, ctx.staging / MODULES, entry)
        try:
            ctx.disks.read_file(ctx.staging / MODULES, "/modules.dep")
        except HostError as error:
            raise ImageError(f"the modules of '{entry.name}' have no index, modules.dep") from error
    return PulledKernel(
        ctx.staging / VMLINUZ,
        manifest.release,
        manifest.distro or entry.distro,
        ctx.staging / MODULES if MODULES in found else None,
        ctx.staging / INITRD if INITRD in found else None,
    )


def _file_system_limit(bundle: Path) -> int:
    return min(max(FREE_BYTES, bundle.stat().st_size * MOST_RATIO), MOST_BYTES)


def _unpack(ctx: PullContext, bundle: Path, limits: dict[str, int]) -> dict[str, str]:
    total = bundle.stat().st_size
    with open(bundle, "rb") as file:
        reader = ArchiveReader(file)
        return reader.members(
            limits,
            ctx.staging,
            lambda _: ctx.progress("unpacking", done=min(file.tell(), total), total=total),
        )


def _check_members(found: dict[str, str], needed: tuple[str, ...], entry: Entry) -> None:
    for name in needed:
        if name not in found:
            raise ImageError(f"the bundle of '{entry.name}' has no {name}")


def _parse(path: Path, kind: type[M], entry: Entry) -> M:
    data = path.read_bytes()
    path.unlink()
    try:
        value = json.loads(data)
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(ascii(part)[:40].strip("'") for part in first["loc"])
        raise ImageError(
            f"the manifest of '{entry.name}' is wrong: {where}: {ascii(first['msg'])[1:-1][:200]}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ImageError(f"the manifest of '{entry.name}' is no JSON") from error


def _check_arch(manifest: _Manifest, ctx: PullContext, entry: Entry) -> None:
    if manifest.arch != ctx.arch:
        raise ImageError(f"'{entry.name}' is for {manifest.arch or 'nothing'}, this machine is {ctx.arch}")


def _check_ext4(ctx: PullContext, path: Path, entry: Entry) -> None:
    try:
        ctx.disks.read_uuid(path)
    except HostError as error:
        raise ImageError(f"the {path.name} of '{entry.name}' is not an ext4 file system") from error
