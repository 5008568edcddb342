"""Pulling a container image: find its manifest, fetch its layers, merge them, write them as ext4."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import itertools
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from banger.api import HostError, ImageError, PulledImage, UsageError, find_login
from banger_images_oci.reference import local_name, parse_reference

if TYPE_CHECKING:
    from banger.api import PullContext
    from banger_images_oci.documents import Blob, Config, Manifest
    from banger_images_oci.layers import LayerReader
    from banger_images_oci.registry import Registry

#: Layers that are decompressed at once: memory, and as many processors.
_AT_ONCE = 2
#: Indexes within indexes that are followed.
_DEPTH = 3


def name_reference(reference: str) -> str:
    """Return the name of an image from a registry."""
    return local_name(parse_reference(reference))


def name_file(path: str) -> str:
    """Return the name of an image from a file: the file's, without its ending."""
    import re

    if not path.startswith("/") or "\0" in path:
        raise UsageError(
            f"'{path[:80]}' is not an absolute path",
            hint="begin it with / or ./, as in oci-archive:./image.tar",
        )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).name.removesuffix(".tar")).lstrip("._-")[:120]
    if not name:
        raise UsageError(f"'{path[:80]}' names no image", hint="name a file or directory")
    return name


def pull_reference(text: str, ctx: PullContext) -> PulledImage:
    """Pull from a registry. What the cache has by digest is not asked for again."""
    from banger_images_oci.cache import hold_cache
    from banger_images_oci.connection import Connections
    from banger_images_oci.fetching import Fetching
    from banger_images_oci.registry import Registry

    reference = parse_reference(text)
    settings: Any = ctx.settings("images-oci")
    ctx.progress("asking the registry", reference.host)
    with _translated(), hold_cache(ctx.cache, lambda: _wait(ctx)) as blobs:
        fetching = Fetching(ctx, reference.host, blobs)
        connections = Connections(fetching.report)
        try:
            login = find_login(f"{reference.host}/{reference.path}")
            registry = Registry(reference, settings.insecure, connections, login)
            fetch = _cached_documents(registry, blobs)
            manifest = find_manifest(fetch(reference.wanted), fetch, ctx.arch)
            with fetching.of(registry, manifest, connections):
                return _build(manifest, fetching.open, settings.kernel, ctx, lambda: fetching.is_pending)
        finally:
            connections.close()


def _wait(ctx: PullContext) -> None:
    ctx.progress("waiting for the cache")
    time.sleep(0.1)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn what the host's file system refuses into an error that says so."""
    try:
        yield
    except OSError as error:
        hint = "free some space and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
        where = f" ({error.filename})" if isinstance(error.filename, str) else ""
        raise HostError(f"the image could not be written: {error.strerror}{where}", hint=hint) from error


def pull_file(path: str, ctx: PullContext) -> PulledImage:
    """Pull from a directory or archive; which of them, the file itself says."""
    name_file(path)
    settings: Any = ctx.settings("images-oci")
    with _translated():
        return _pull_file(path, settings.kernel, ctx)


def _pull_file(path: str, kernel: str, ctx: PullContext) -> PulledImage:
    from banger_images_oci.documents import is_index, parse_json
    from banger_images_oci.layout import Layout, unpack_docker, unpack_layout

    source, copy = Path(path), ctx.staging / "layout"
    ctx.progress("reading the archive")
    if source.is_dir():
        layout = Layout(source)
    else:
        layout = unpack_layout(source, copy, ctx)
        if not (copy / "index.json").exists():
            shutil.rmtree(copy)
            layout = unpack_docker(source, copy, ctx)
    index = layout.index()
    if not is_index(parse_json(index, "index")):
        raise ImageError("index.json is no index of images")
    manifest = find_manifest(index, layout.document, ctx.arch)
    pulled = _build(manifest, layout.open, kernel, ctx)
    shutil.rmtree(copy, ignore_errors=True)
    return pulled


def find_manifest(data: bytes, fetch: Callable[[str], bytes], arch: str) -> Manifest:
    """Return the manifest for an architecture that a document is, or leads to."""
    from banger_images_oci.documents import choose_manifest, is_index, parse_json, parse_manifest

    for _ in range(_DEPTH):
        value = parse_json(data, "manifest")
        if not is_index(value):
            return parse_manifest(value)
        data = fetch(choose_manifest(value, arch).digest)
    raise ImageError(f"the index leads to more than {_DEPTH} others")


def _cached_documents(registry: Registry, blobs: Path) -> Callable[[str], bytes]:
    from banger_images_oci.fetching import is_whole

    def fetch(wanted: str) -> bytes:
        by_digest = wanted.startswith("sha256:")
        kept = blobs / wanted.removeprefix("sha256:")
        if by_digest and kept.exists() and is_whole(kept, wanted):
            return kept.read_bytes()
        data = registry.document(wanted)
        place = blobs / hashlib.sha256(data).hexdigest()
        temporary = place.with_name(f"{place.name}.{uuid.uuid4().hex}.part")
        temporary.write_bytes(data)
        temporary.replace(place)
        return data

    return fetch


def _build(
    manifest: Manifest,
    open_blob: Callable[[Blob], IO[bytes]],
    kernel: str,
    ctx: PullContext,
    is_fetching: Callable[[], bool] = lambda: False,
) -> PulledImage:
    """Make an image of blobs.

    :param is_fetching: tells whether some of them are still to come, which is what is reported then.
    """
    from banger_images_oci.blocks import Blocks
    from banger_images_oci.disk import make_disk
    from banger_images_oci.documents import DOCUMENT_LIMIT, parse_config
    from banger_images_oci.layers import LayerReader

    with open_blob(manifest.config) as file:
        config = parse_config(file.read(DOCUMENT_LIMIT + 1), len(manifest.layers), ctx.arch)
    rootfs = ctx.staging / "rootfs.ext4"
    with open(rootfs, "x+b", buffering=0) as disk:
        reader = LayerReader(Blocks(disk))
        _unpack(reader, manifest, config, open_blob, _Unpacking(manifest, ctx, is_fetching))
        workdir = _make_workdir(reader, config)
        # Images of the same layers that are to be run in another way are others.
        identity = uuid.uuid5(uuid.NAMESPACE_OID, manifest.config.digest)
        ctx.progress("writing the disk")
        make_disk(reader, disk, rootfs, str(identity), ctx)
    return PulledImage(
        rootfs,
        "",
        kernel_ref=kernel,
        env=config.env,
        user=config.user,
        workdir=workdir,
        entrypoint=config.entrypoint,
        cmd=config.cmd,
    )


def _unpack(
    reader: LayerReader,
    manifest: Manifest,
    config: Config,
    open_blob: Callable[[Blob], IO[bytes]],
    report: _Unpacking,
) -> None:
    """Apply the layers one after the other; while one is applied the next is decompressed."""
    from banger_images_oci.stream import LayerStream

    def begin(number: int) -> LayerStream:
        layer = manifest.layers[number]
        opened = functools.partial(open_blob, layer)
        return LayerStream(opened, layer.size, functools.partial(report, number))

    streams: list[LayerStream] = []
    try:
        for number, (layer, diff_id) in enumerate(zip(manifest.layers, config.diff_ids, strict=True)):
            while len(streams) < min(_AT_ONCE, len(manifest.layers) - number):
                streams.append(begin(number + len(streams)))
            reader.apply(streams[0])
            if streams[0].finish() != diff_id:
                raise ImageError(
                    f"the layer {layer.digest[:19]} has another diff_id than the configuration says"
                )
            streams.pop(0).close()
    finally:
        for stream in streams:
            stream.close()


class _Unpacking:
    """Reports how much of all layers was read, a few times a second."""

    def __init__(self, manifest: Manifest, ctx: PullContext, is_fetching: Callable[[], bool]) -> None:
        self._ctx, self._is_fetching = ctx, is_fetching
        self._before = [0, *itertools.accumulate(layer.size for layer in manifest.layers)]
        self._next = 0.0

    def __call__(self, layer: int, done: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.2
            if not self._is_fetching():
                total = self._before[-1]
                self._ctx.progress("unpacking", done=min(self._before[layer] + done, total), total=total)


def _make_workdir(reader: Any, config: Config) -> str:
    """Make the working directory where the layers have none, as container engines do."""
    from banger_images_oci.tree import split_path

    if not config.workdir:
        return ""
    parts = split_path(config.workdir.lstrip("/").encode(), "working directory")
    if reader.tree.find(parts) is None:
        try:
            reader.tree.directory(parts)
        except ImageError:
            return f"/{b'/'.join(parts).decode()}"  # through a link, which the guest follows
    return f"/{b'/'.join(parts).decode()}"
