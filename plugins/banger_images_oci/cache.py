"""The cache of blobs: held while a pull needs it, emptied when nobody does."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from banger.api import ConflictError, HostError, Operation, OperationContext


class PruneParams(BaseModel):
    """``dry_run``: say what would go, and leave it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dry_run: bool = False


class Pruned(BaseModel):
    """Blobs that went, or would, and their bytes."""

    blobs: int
    bytes: int


def cache_dir(cache: Path) -> Path:
    """Return the directory of blobs within a source's cache."""
    return cache / "blobs"


@contextmanager
def hold_cache(cache: Path, wait: Callable[[], None]) -> Iterator[Path]:
    """Give the directory of blobs, in which nothing is pruned meanwhile.

    :param wait: called while the cache is being emptied; waits, and raises when the pull is cancelled.
    """
    with _locked(cache, fcntl.LOCK_SH, wait):
        blobs = cache_dir(cache)
        blobs.mkdir(mode=0o700, exist_ok=True)
        yield blobs


def prune_cache(op: OperationContext, params: PruneParams) -> Pruned:
    """Empty the cache; ConflictError while an image is being pulled."""
    cache = op.services.paths.cache / "sources" / "oci"
    if not cache_dir(cache).is_dir():
        return Pruned(blobs=0, bytes=0)

    def refuse() -> None:
        raise ConflictError("an image is being pulled, which needs the cache", hint="see: banger op list")

    try:
        with _locked(cache, fcntl.LOCK_EX, refuse):
            return _empty(cache_dir(cache), params.dry_run)
    except OSError as error:
        raise HostError(f"the cache {cache} cannot be emptied: {error.strerror}") from error


def _empty(blobs: Path, dry_run: bool) -> Pruned:
    files = [entry for entry in os.scandir(blobs) if entry.is_file(follow_symlinks=False)]
    size = sum(entry.stat(follow_symlinks=False).st_size for entry in files)
    for entry in files if not dry_run else []:
        os.unlink(entry.path)
    return Pruned(blobs=len(files), bytes=size)


@contextmanager
def _locked(cache: Path, how: int, wait: Callable[[], None]) -> Iterator[None]:
    with open(cache / "lock", "ab") as file:
        while True:
            try:
                fcntl.flock(file, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                wait()
        yield


OPERATIONS = [
    Operation("image.cache.prune", "empty the cache of container images", PruneParams, Pruned, prune_cache)
]
