"""A root file system in a tar, made a container image of one layer, which their source makes a disk of."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from banger.api import HostError, ImageError, UsageError

if TYPE_CHECKING:
    from banger.api import OperationContext, PullContext, PulledImage

_CHUNK = 1 << 20
#: Bytes that a tar may have once it is decompressed.
_TAR_LIMIT = 64 << 30
#: The largest window that a zstd stream may ask for, bytes; it is memory.
_WINDOW = 1 << 27
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SOURCE = "oci-layout"


def build_image(op: OperationContext, pull: PullContext, path: Path) -> PulledImage:
    """Return a tar's files as an image in staging.

    :raises UsageError: the plugin that makes disks is not there. :raises ImageError: it is no tar, or a hostile one.
    """
    sources = op.services.registries.image_sources
    if _SOURCE not in sources:
        raise UsageError(
            "making a disk of a tar needs the plugin images-oci",
            hint="take it out of disabled; banger plugins list",
        )
    layout = pull.staging / "layout"
    _make_layout(path, layout, pull)
    return sources[_SOURCE].pull(str(layout), pull)


def _make_layout(path: Path, layout: Path, pull: PullContext) -> None:
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    try:
        layer, size = _copy_layer(path, blobs, pull)
    except (OSError, EOFError, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise HostError(f"{path} cannot be read or copied: {error.strerror}") from error
        raise ImageError(f"{path} cannot be decompressed: {error}", hint="make it again") from error
    architecture = _ARCHITECTURES.get(pull.arch, pull.arch)
    config = _put(
        blobs,
        {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        },
    )
    kind = "application/vnd.oci.image."
    manifest = _put(
        blobs,
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}manifest.v1+json",
            "config": {"mediaType": f"{kind}config.v1+json", **config},
            "layers": [{"mediaType": f"{kind}layer.v1.tar", "digest": f"sha256:{layer}", "size": size}],
        },
    )
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": f"{kind}manifest.v1+json",
                **manifest,
                "platform": {"os": "linux", "architecture": architecture},
            }
        ],
    }
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _put(blobs: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Write a document; its descriptor's digest and size."""
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def _copy_layer(path: Path, blobs: Path, pull: PullContext) -> tuple[str, int]:
    """Copy a tar, decompressed; its digest and size."""
    digest, size, part = hashlib.sha256(), 0, blobs / "part"
    with open(path, "rb") as file, open(part, "xb") as copy:
        reader = _open(file)
        while data := reader.read(_CHUNK):
            digest.update(data)
            size += len(data)
            if size > _TAR_LIMIT:
                raise ImageError(f"the tar is larger than {_TAR_LIMIT >> 30} GiB")
            copy.write(data)
            pull.progress("reading the tar", done=size)
    if not size:
        raise ImageError("the tar is empty", hint="was the program that writes it successful?")
    part.rename(blobs / digest.hexdigest())
    return digest.hexdigest(), size


class _Zstd:
    """A zstd stream of any number of frames."""

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(
            file, read_across_frames=True
        )

    def read(self, size: int) -> bytes:
        try:
            return self._reader.read(size)
        except self._error as error:
            raise EOFError(str(error)) from error


class _Joined:
    """What was read ahead of a stream that cannot go back, and the rest of it."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head, self._file = head, file

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._file.read(size)
        wanted = len(self._head) if size < 0 else size
        head, self._head = self._head[:wanted], self._head[wanted:]
        return head

    def readable(self) -> bool:
        return True


def _open(file: IO[bytes]) -> Any:
    """Return a stream of a tar's own bytes; pipes work as well as files."""
    head = file.read(8)
    joined: Any = _Joined(head, file)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=joined)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _Zstd(joined)
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(joined)
    return bz2.BZ2File(joined) if head.startswith(b"BZh") else joined
