"""Fetching an image's blobs into the cache, several at a time, while what is there already is unpacked."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING

from banger.api import ImageError

if TYPE_CHECKING:
    from banger.api import PullContext
    from banger_images_oci.connection import Connections
    from banger_images_oci.documents import Blob, Manifest
    from banger_images_oci.registry import Registry

#: Blobs that are fetched at once.
_PARALLEL = 3


class Fetching:
    """What was fetched of what is to be, over all connections; reported from time to time, not with every byte."""

    def __init__(self, ctx: PullContext, host: str, blobs: Path) -> None:
        self._ctx, self._host, self._blobs = ctx, host, blobs
        self._sizes: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._tasks: dict[str, Future[None]] = {}

    @contextlib.contextmanager
    def of(self, registry: Registry, manifest: Manifest, connections: Connections) -> Iterator[None]:
        """Fetch a manifest's blobs, the first layers first; what still runs when the block fails is broken off."""
        wanted = dict.fromkeys((manifest.config, *manifest.layers))
        missing = [blob for blob in wanted if not self._has_size(blob)]
        self._done = {blob.digest: 0 for blob in missing}
        self._sizes = {blob.digest: blob.size for blob in missing}
        with ThreadPoolExecutor(_PARALLEL, "banger-fetch") as pool:
            try:
                self._tasks = {blob.digest: pool.submit(self._fetch, registry, blob) for blob in wanted}
                self.report()
                yield
            except BaseException:
                connections.break_off(ImageError("the pull was given up"))
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def open(self, blob: Blob) -> IO[bytes]:
        """Open a blob, once it is there and is what its digest says."""
        self._tasks[blob.digest].result()
        return open(self._blobs / blob.digest[7:], "rb")

    @property
    def is_pending(self) -> bool:
        """Tell whether something is still to come; raises what made a fetch fail."""
        for task in self._tasks.values():
            if task.done():
                task.result()
        return not all(task.done() for task in self._tasks.values())

    def report(self) -> None:
        """Report; raises CancelledError once cancelled."""
        total = sum(self._sizes.values())
        if total:
            self._ctx.progress("fetching", done=min(sum(list(self._done.values())), total), total=total)
        elif not self._tasks:
            self._ctx.progress("asking the registry", self._host)

    def _fetch(self, registry: Registry, blob: Blob) -> None:
        def tick(done: int) -> None:
            self._done[blob.digest] = done

        path = self._blobs / blob.digest[7:]
        if self._has_size(blob):
            if is_whole(path, blob.digest):
                return
            path.unlink(missing_ok=True)
        registry.blob(blob, path, tick)

    def _has_size(self, blob: Blob) -> bool:
        path = self._blobs / blob.digest[7:]
        return path.exists() and path.stat().st_size == blob.size


def is_whole(path: Path, digest: str) -> bool:
    """Tell whether a file is what a digest says."""
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest
