"""Manifests, indexes and configurations of images: parsed, bounded, nothing in them believed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from banger.api import ImageError
from banger_images_oci.reference import DIGEST

#: Bytes of a manifest, index or configuration; registries refuse manifests above 4 MiB (OCI distribution 1.1).
DOCUMENT_LIMIT = 4 * 1024 * 1024
#: Layers of an image; overlay file systems stop at 128.
LAYER_LIMIT = 500
#: Bytes that a blob may have.
BLOB_LIMIT = 64 * 1024**3

#: Media types of what can be in an index, and of layers with their compression.
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
LAYERS = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Blob:
    """A descriptor: content by digest, with its size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image: its configuration and its layers, oldest first."""

    config: Blob
    layers: tuple[Blob, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """What an image says about running it; ``diff_ids`` are the digests of the layers once decompressed."""

    env: dict[str, str]
    user: str
    workdir: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    diff_ids: tuple[str, ...]


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """Return a JSON object; ImageError when it is none, or too long or deep."""
    if len(data) > DOCUMENT_LIMIT:
        raise ImageError(f"the {what} is longer than {DOCUMENT_LIMIT >> 20} MiB")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"the {what} is no JSON") from error
    if not isinstance(value, dict):
        raise ImageError(f"the {what} is no JSON object")
    return value


def is_index(value: dict[str, Any]) -> bool:
    """Tell whether a document is an index of manifests."""
    return value.get("mediaType") in INDEXES or ("manifests" in value and "layers" not in value)


def parse_blob(value: Any, what: str) -> Blob:
    """Return a descriptor's digest and size."""
    digest, size = (value.get("digest"), value.get("size")) if isinstance(value, dict) else (None, None)
    if not isinstance(digest, str) or not DIGEST.match(digest):
        raise ImageError(f"the {what} has no sha256 digest")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= BLOB_LIMIT:
        raise ImageError(f"the {what} has no size, or more than {BLOB_LIMIT >> 30} GiB")
    return Blob(digest, size)


def choose_manifest(index: dict[str, Any], arch: str) -> Blob:
    """Return the manifest of an index for this architecture and Linux."""
    wanted, seen = ARCHITECTURES.get(arch, arch), set()
    entries = index.get("manifests")
    for entry in entries if isinstance(entries, list) else []:
        platform = entry.get("platform") if isinstance(entry, dict) else None
        if platform is None and len(entries or []) == 1:
            return parse_blob(entry, "index's manifest")
        if not isinstance(platform, dict):
            continue
        system, architecture = platform.get("os"), platform.get("architecture")
        if (system, architecture) == ("linux", wanted):
            return parse_blob(entry, "index's manifest")
        if isinstance(architecture, str) and architecture != "unknown":
            seen.add(f"{system}/{architecture}"[:40])
    there = ", ".join(sorted(seen)[:8]) or "nothing"
    raise ImageError(f"the image is not made for linux/{wanted}: there is {ascii(there)[1:-1]}")


def parse_manifest(value: dict[str, Any]) -> Manifest:
    """Return the parts of a manifest; ImageError for layers of a kind that is not carried."""
    layers = value.get("layers")
    if value.get("mediaType", MANIFESTS[0]) not in MANIFESTS or not isinstance(layers, list):
        raise ImageError("the manifest is of a kind that is not known here")
    if not 0 < len(layers) <= LAYER_LIMIT:
        raise ImageError(f"the manifest has {len(layers)} layers, not 1 to {LAYER_LIMIT}")
    blobs = []
    for layer in layers:
        blob = parse_blob(layer, "layer")
        if layer.get("urls"):
            raise ImageError("the image has a foreign layer, whose content is elsewhere")
        if layer.get("mediaType") not in LAYERS:
            raise ImageError(f"a layer is of an unknown kind: {ascii(layer.get('mediaType'))[:80]}")
        blobs.append(blob)
    return Manifest(parse_blob(value.get("config"), "configuration"), tuple(blobs))


def parse_config(data: bytes, layers: int, arch: str) -> Config:
    """Return what an image's configuration says, for an image of so many layers."""
    value = parse_json(data, "configuration")
    wanted = ARCHITECTURES.get(arch, arch)
    if value.get("os", "linux") != "linux" or value.get("architecture", wanted) != wanted:
        raise ImageError(f"the image is not made for linux/{wanted}")
    rootfs, run = value.get("rootfs"), value.get("config") or {}
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != layers:
        raise ImageError("configuration and manifest disagree about the number of layers")
    if not all(isinstance(digest, str) and DIGEST.match(digest) for digest in diff_ids):
        raise ImageError("a layer's diff_id is no sha256 digest")
    if not isinstance(run, dict):
        raise ImageError("the configuration's config is no object")
    pairs = [word.partition("=") for word in _words(run.get("Env"), "Env")]
    return Config(
        env={name: text for name, equals, text in pairs if name and equals},
        user=_user(run.get("User")),
        workdir=_word(run.get("WorkingDir"), "WorkingDir"),
        entrypoint=_words(run.get("Entrypoint"), "Entrypoint"),
        cmd=_words(run.get("Cmd"), "Cmd"),
        diff_ids=tuple(diff_ids),
    )


def _word(value: Any, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 131072 or "\0" in value or not _is_utf8(value):
        raise ImageError(f"the configuration's {what} is no text")
    return value


def _user(value: Any) -> str:
    """Return ``user``, ``user:group`` or numbers instead, as the guest's passwd and group files can have them."""
    user = _word(value, "User")
    if len(user) > 200 or not user.isprintable() or user.count(":") > 1:
        raise ImageError("the configuration's User is no user")
    return user


def _is_utf8(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _words(value: Any, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > 1000:
        raise ImageError(f"the configuration's {what} is no list, or too long")
    return tuple(_word(word, what) for word in value)
