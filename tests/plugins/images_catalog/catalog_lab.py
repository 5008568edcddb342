"""A plain static server with ranges, as anybody has one, and what it hands out."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zstandard

from banger.host.command import HostCommands
from banger.host.disk import HostDisks
from banger.testing.contracts import RecordedProgress
from banger_images_catalog.settings import Settings
from tests.plugins.images_oci.misbehaving import Request
from tests.plugins.local.paper_kernel import RELEASE, make_bzimage

ARCH = os.uname().machine
UUID = "11111111-2222-4333-8444-555555555555"


def answer_file(request: Request, directory: Path) -> None:
    """Answer as nginx does for a file: whole, from a byte on, or not at all when it is known."""
    path = directory / request.path.lstrip("/")
    if not path.is_file():
        request.answer(404)
        return
    data = path.read_bytes()
    etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    if request.headers.get("If-None-Match") == etag:
        request.answer(304, ETag=etag)
        return
    start = int(request.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
    if start:
        request.answer(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")
    else:
        request.answer(200, data, ETag=etag)


def make_rootfs(directory: Path, text: str = "hello", size_mib: int = 8) -> Path:
    """Make a small ext4 file with an os-release in it, and an index of modules."""
    content = directory / f"content {text[:10]}"
    (content / "usr" / "lib").mkdir(parents=True)
    (content / "usr" / "lib" / "os-release").write_text(f'NAME="x"\nID=debian\nX={text}\n')
    (content / "modules.dep").write_text("kernel/virtio.ko:\n")
    (content / "modules.builtin").write_text("kernel/ext4.ko\n")
    path = directory / f"rootfs-{text[:10]}.ext4"
    HostDisks(HostCommands()).make_ext4(path, size_mib, uuid=UUID, label="r", content=content)
    return path


Members = list[tuple[str, bytes]]


def image_members(rootfs: bytes, **manifest: Any) -> Members:
    """Return the members of an image's bundle."""
    said = {"version": 1, "name": "box", "arch": ARCH, **manifest}
    return [("manifest.json", json.dumps(said).encode()), ("rootfs.ext4", rootfs)]


def kernel_members(**manifest: Any) -> Members:
    """Return the members of a kernel's bundle."""
    said = {"version": 1, "name": "tiny", "arch": ARCH, "release": RELEASE, **manifest}
    return [("manifest.json", json.dumps(said).encode()), ("vmlinuz", make_bzimage())]


def pack(members: Members, kinds: Mapping[str, bytes] | None = None, end: bool = True) -> bytes:
    """Return members as GNU tar and zstd would pack them; ``kinds`` gives some another type."""
    file = io.BytesIO()
    for name, data in members:
        info = tarfile.TarInfo(name)
        info.size, info.type = len(data), (kinds or {}).get(name, tarfile.REGTYPE)
        file.write(info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512))
    file.write(bytes(10240) if end else b"")
    return zstandard.ZstdCompressor(level=1).compress(file.getvalue())


def entry(bundle: bytes, url: str = "box.tar.zst", **members: Any) -> dict[str, Any]:
    """Return a catalog's entry for a bundle."""
    digest = hashlib.sha256(bundle).hexdigest()
    return {"name": "box", "arch": ARCH, "url": url, "sha256": digest, "size": len(bundle), **members}


def catalog(*images: dict[str, Any], kernels: tuple[dict[str, Any], ...] = (), **members: Any) -> bytes:
    """Return a catalog."""
    return json.dumps({"version": 1, "images": images, "kernels": kernels, **members}).encode()


def publish(directory: Path, bundle: bytes, **members: Any) -> None:
    """Write a bundle and a catalog that has it."""
    (directory / "box.tar.zst").write_bytes(bundle)
    (directory / "catalog.json").write_bytes(catalog(entry(bundle, **members)))


def context(
    tmp_path: Path,
    *catalogs: str,
    name: str = "one",
    insecure: tuple[str, ...] = ("127.0.0.1", "localhost"),
    **members: Any,
) -> RecordedProgress:
    """Return what a pull gets, on the real host."""
    staging, cache = tmp_path / name, tmp_path / "cache"
    staging.mkdir()
    cache.mkdir(exist_ok=True)
    settings = Settings(catalogs=catalogs, insecure=insecure)
    return RecordedProgress(staging, cache, models={"images-catalog": settings}, **members)
