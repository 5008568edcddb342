"""A container image to measure with, made here: layers like a distribution's and a program's, the same every time."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

#: Bytes that the files are pieces of; they pack to about 40 %, as programs and texts do.
_POOL = 2 << 20
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_TYPE = "application/vnd.oci.image"
#: Folder, share of the whole in per cent and bytes of a file on average.
_LAYERS = (
    ("usr/share", 25, 8 << 10),
    ("usr/lib", 35, 200 << 10),
    ("opt/app", 15, 30 << 10),
    ("opt/data", 20, 4 << 20),
    ("usr/share", 5, 20 << 10),
)


def make_image(directory: Path, mebibytes: int) -> Path:
    """Write an OCI layout with an image of five gzipped layers, ``mebibytes`` large when it is unpacked.

    Many small files, programs, a few big files; the last layer replaces some and deletes others.
    """
    pool = _make_pool()
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)
    layers: list[dict[str, Any]] = []
    diff_ids: list[str] = []
    for number, (folder, share, average) in enumerate(_LAYERS):
        total = (mebibytes << 20) * share // 100
        layer, diff_id = _add_layer(blobs, number, _entries(number, folder, total, average), pool)
        layers.append(layer)
        diff_ids.append(diff_id)
    _add_documents(directory, layers, diff_ids)
    return directory


def _noise(seed: str, count: int) -> bytes:
    return hashlib.shake_256(seed.encode()).digest(count)


def _make_pool() -> bytes:
    words = [_noise(f"word {number}", 2 + number % 8) for number in range(256)]
    noise = _noise("pool", _POOL // 2)
    pieces = (words[noise[at]] + noise[at + 1 : at + 2] for at in range(0, len(noise), 2))
    return b"".join(pieces)[:_POOL]


def _entries(number: int, folder: str, total: int, average: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yield headers with where in the pool each file's content begins."""
    last = number == len(_LAYERS) - 1
    count = max(1, total // average)
    noise = _noise(f"layer {number}", count * 4)
    for index in range(count):
        four = noise[index * 4 : index * 4 + 4]
        parent = f"{folder}/{index // 100:03}"
        if index % 100 == 0:
            yield _header(parent, tarfile.DIRTYPE, 0o755), 0
        name = ".wh." * (last and index % 50 == 0) + f"file-{index % 100:02}"
        info = _header(f"{parent}/{name}", tarfile.REGTYPE, (0o644, 0o755)[four[3] & 1])
        # Most are small, some are large, as in real trees.
        info.size = 0 if ".wh." in name else average * (1 + (four[0] ** 2 * 5 >> 8)) // 427 + four[1]
        yield info, int.from_bytes(four[:3]) % (_POOL // 2)


def _header(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, 1_700_000_000
    return info


class _Hashing:
    """A file to write to, which knows the digest of what was written."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write and hash."""
        self._digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Leave it to the file."""

    def hexdigest(self) -> str:
        """Return the digest of everything so far."""
        return self._digest.hexdigest()


def _add_layer(
    blobs: Path, number: int, entries: Iterator[tuple[tarfile.TarInfo, int]], pool: bytes
) -> tuple[dict[str, Any], str]:
    part = blobs / f"layer-{number}"
    with open(part, "wb") as file:
        packed = _Hashing(file)
        with gzip.GzipFile("", "wb", 6, cast("IO[bytes]", packed), mtime=0) as packer:
            plain = _Hashing(packer)
            with tarfile.open(fileobj=cast("IO[bytes]", plain), mode="w|", format=tarfile.PAX_FORMAT) as tar:
                for info, start in entries:
                    tar.addfile(info, _content(pool, start, info.size))
    digest = packed.hexdigest()
    size = part.stat().st_size
    part.rename(blobs / digest)
    return {"mediaType": f"{_TYPE}.layer.v1.tar+gzip", "digest": f"sha256:{digest}", "size": size}, (
        f"sha256:{plain.hexdigest()}"
    )


def _content(pool: bytes, start: int, size: int) -> BytesIO:
    piece = pool[start : start + size]
    return BytesIO(piece if len(piece) == size else (piece + pool * (size // _POOL + 1))[:size])


def _add_documents(directory: Path, layers: list[dict[str, Any]], diff_ids: list[str]) -> None:
    def add(kind: str, value: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        (directory / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": f"{_TYPE}.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    machine = platform.machine()
    config = {
        "os": "linux",
        "architecture": _ARCHITECTURES.get(machine, machine),
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_TYPE}.manifest.v1+json",
        "config": add("config.v1+json", config),
        "layers": layers,
    }
    top = {
        **add("manifest.v1+json", manifest),
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
