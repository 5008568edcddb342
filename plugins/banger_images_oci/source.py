"""Pulling a container image: find its manifest, fetch its layers, merge them, write them as ext4."""

from __future__ import annotations

import contextlib
import errno
import hashlib
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
    from banger_images_oci.reference import Reference
    from banger_images_oci.registry import Registry

#: Blobs that are fetched at once.
_PARALLEL = 3
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

    reference = parse_reference(text)
    settings: Any = ctx.settings("images-oci")
    ctx.progress("asking the registry", reference.host)
    with _translated(), hold_cache(ctx.cache, lambda: _wait(ctx)) as blobs:
        manifest = _fetch(reference, settings.insecure, blobs, ctx)
        return _build(manifest, lambda blob: open(blobs / blob.digest[7:], "rb"), settings.kernel, ctx)


def _fetch(reference: Reference, insecure: tuple[str, ...], blobs: Path, ctx: PullContext) -> Manifest:
    """Return a manifest whose blobs are all in the cache."""
    from banger.api import Connections
    from banger_images_oci.registry import Registry

    fetching = _Fetching(ctx, reference.host)
    connections = Connections(fetching.report)
    try:
        login = find_login(f"{reference.host}/{reference.path}")
        registry = Registry(reference, insecure, connections, login)
        fetch = _cached_documents(registry, blobs)
        manifest = find_manifest(fetch(reference.wanted), fetch, ctx.arch)
        _fetch_blobs(registry, manifest, blobs, fetching)
        return manifest
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
    def fetch(wanted: str) -> bytes:
        by_digest = wanted.startswith("sha256:")
        kept = blobs / wanted.removeprefix("sha256:")
        if by_digest and kept.exists() and _is_whole(kept, wanted):
            return kept.read_bytes()
        data = registry.document(wanted)
        place = blobs / hashlib.sha256(data).hexdigest()
        temporary = place.with_name(f"{place.name}.{uuid.uuid4().hex}.part")
        temporary.write_bytes(data)
        temporary.replace(place)
        return data

    return fetch


def _is_whole(path: Path, digest: str) -> bool:
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest


class _Fetching:
    """What was fetched of what is to be, over all connections; reported from time to time, not with every byte."""

    def __init__(self, ctx: PullContext, host: str) -> None:
        self._ctx, self._host = ctx, host
        self._sizes: dict[str, int] = {}
        self._done: dict[str, int] = {}

    def expect(self, missing: list[Blob]) -> None:
        """Say what will come."""
        self._done = {blob.digest: 0 for blob in missing}
        self._sizes = {blob.digest: blob.size for blob in missing}

    def tick(self, blob: Blob, done: int) -> None:
        """Note how much of a blob is there."""
        self._done[blob.digest] = done

    def report(self) -> None:
        """Report; raises CancelledError once cancelled."""
        total = sum(self._sizes.values())
        if total:
            self._ctx.progress("fetching", done=min(sum(list(self._done.values())), total), total=total)
        else:
            self._ctx.progress("asking the registry", self._host)


def _fetch_blobs(registry: Registry, manifest: Manifest, blobs: Path, fetching: _Fetching) -> None:
    from concurrent.futures import ThreadPoolExecutor

    wanted = list(dict.fromkeys((manifest.config, *manifest.layers)))
    missing = [blob for blob in wanted if not _is_here(blob, blobs)]
    fetching.expect(missing)
    fetching.report()

    def fetch(blob: Blob) -> None:
        registry.blob(blob, blobs / blob.digest[7:], lambda done: fetching.tick(blob, done))

    with ThreadPoolExecutor(_PARALLEL) as pool:
        tasks = [pool.submit(fetch, blob) for blob in missing]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _is_here(blob: Blob, blobs: Path) -> bool:
    path = blobs / blob.digest[7:]
    return path.exists() and path.stat().st_size == blob.size and _is_whole(path, blob.digest)


def _build(
    manifest: Manifest, open_blob: Callable[[Blob], IO[bytes]], kernel: str, ctx: PullContext
) -> PulledImage:
    from banger_images_oci.disk import make_disk
    from banger_images_oci.documents import DOCUMENT_LIMIT, parse_config
    from banger_images_oci.layers import LayerReader
    from banger_images_oci.stream import LayerStream

    with open_blob(manifest.config) as file:
        config = parse_config(file.read(DOCUMENT_LIMIT + 1), len(manifest.layers), ctx.arch)
    contents = ctx.staging / "contents"
    contents.mkdir()
    reader = LayerReader(contents)
    total, before = sum(layer.size for layer in manifest.layers), 0
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        with (
            open_blob(layer) as file,
            LayerStream(file, layer.size, _Unpacking(ctx, before, total)) as stream,
        ):
            reader.apply(stream)
            if stream.finish() != diff_id:
                raise ImageError(
                    f"the layer {layer.digest[:19]} has another diff_id than the configuration says"
                )
        before += layer.size
    workdir = _make_workdir(reader, config)
    # Images of the same layers that are to be run in another way are others.
    identity = uuid.uuid5(uuid.NAMESPACE_OID, manifest.config.digest)
    ctx.progress("writing the disk")
    rootfs = ctx.staging / "rootfs.ext4"
    make_disk(reader, contents, rootfs, str(identity), ctx)
    shutil.rmtree(contents)
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


class _Unpacking:
    """Reports how much of all layers was read, a layer's beginning being known; a few times a second."""

    def __init__(self, ctx: PullContext, before: int, total: int) -> None:
        self._ctx, self._before, self._total = ctx, before, total
        self._next = 0.0

    def __call__(self, done: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.2
            self._ctx.progress("unpacking", done=min(self._before + done, self._total), total=self._total)


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
