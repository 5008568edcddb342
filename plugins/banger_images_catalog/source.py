"""What catalogs offer, and pulling their bundles."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from banger.api import (
    TRIES,
    Connections,
    HostError,
    ImageError,
    KernelError,
    NotFoundError,
    Offer,
    PulledImage,
    PulledKernel,
    UsageError,
)
from banger_images_catalog.bundle import unpack_image, unpack_kernel
from banger_images_catalog.catalogs import Catalog, load_catalogs
from banger_images_catalog.document import Entry, ImageEntry, KernelEntry
from banger_images_catalog.place import Place, resolve_url
from banger_images_catalog.site import PLAIN, Site

if TYPE_CHECKING:
    from banger.api import OfferContext, PullContext

#: Seconds after which a download that nobody went on with is thrown away.
_STALE = 7 * 86400.0

E = TypeVar("E", ImageEntry, KernelEntry)


def name_entry(name: str) -> str:
    """Return the name of an entry, which is its own."""
    import re

    from banger_images_catalog.document import NAME

    if not re.fullmatch(NAME, name) or name.endswith("\n"):
        raise UsageError(
            f"'{name[:80]}' is not a name in a catalog",
            hint="letters, digits, '.', '_' and '-': catalog:NAME",
        )
    return name


def offer_images(ctx: OfferContext) -> tuple[Offer, ...]:
    """Return the images of all catalogs for this machine, the first of each name."""
    entries = [entry for catalog in _catalogs(ctx) for entry in catalog.document.images]
    return tuple(
        Offer(
            entry.name,
            entry.recipe or f"catalog:{entry.name}",
            entry.distro,
            entry.kernel_ref,
            entry.size,
            entry.description,
        )
        for entry in _first(entries, ctx.arch)
    )


def offer_kernels(ctx: OfferContext) -> tuple[Offer, ...]:
    """Return the kernels of all catalogs for this machine, the first of each name."""
    entries = [entry for catalog in _catalogs(ctx) for entry in catalog.document.kernels]
    return tuple(
        Offer(
            entry.name, f"catalog:{entry.name}", entry.distro, size=entry.size, description=entry.description
        )
        for entry in _first(entries, ctx.arch)
    )


def pull_image(name: str, ctx: PullContext) -> PulledImage:
    """Pull a bundle.

    :raises NotFoundError: no catalog has it. :raises ImageError: it cannot be fetched, or is not what it should be.
    """
    found = _find(ctx, [(c, entry) for c in _ask(ctx) for entry in c.document.images], name_entry(name))
    if found is None:
        raise _unknown("image", name)
    place, entry = found
    if not entry.is_bundle:
        raise ImageError(f"'{name}' is made from {entry.recipe}", hint=f"banger image pull {name}")
    with _fetched(ctx, place, entry) as bundle:
        return unpack_image(ctx, bundle, entry)


def pull_kernel(name: str, ctx: PullContext) -> PulledKernel:
    """Pull a kernel; errors as above, KernelError for ImageError."""
    found = _find(ctx, [(c, entry) for c in _ask(ctx) for entry in c.document.kernels], name_entry(name))
    if found is None:
        raise _unknown("kernel", name)
    place, entry = found
    try:
        with _fetched(ctx, place, entry) as bundle:
            return unpack_kernel(ctx, bundle, entry)
    except ImageError as error:
        raise KernelError(error.message, hint=error.hint) from error


def _unknown(what: str, name: str) -> NotFoundError:
    return NotFoundError(
        f"no catalog has the {what} '{name}' for this machine", hint=f"see: banger {what} list --available"
    )


def _catalogs(ctx: OfferContext) -> Iterator[Catalog]:
    for found in load_catalogs(ctx, ask=ctx.ask):
        if isinstance(found, Catalog):
            yield found
        elif ctx.ask:
            ctx.notice(found)


def _ask(ctx: PullContext) -> Iterator[Catalog]:
    """Yield the catalogs; what is wrong with others was said when the name was looked for."""
    return (found for found in load_catalogs(ctx, ask=True) if isinstance(found, Catalog))


def _first(entries: list[E], arch: str) -> Iterator[E]:
    seen = set()
    for entry in entries:
        if entry.arch in ("", arch) and entry.name not in seen:
            seen.add(entry.name)
            yield entry


def _find(ctx: PullContext, entries: list[tuple[Catalog, E]], name: str) -> tuple[Place | None, E] | None:
    return next(
        (
            (catalog.place, entry)
            for catalog, entry in entries
            if entry.name == name and entry.arch in ("", ctx.arch)
        ),
        None,
    )


@contextlib.contextmanager
def _fetched(ctx: PullContext, place: Place | None, entry: Entry) -> Iterator[Path]:
    """Give an entry's bundle, which has the digest that the entry says; it goes afterwards."""
    settings: Any = ctx.settings("images-catalog")
    assert entry.url is not None
    where = resolve_url(place or Place(), entry.url, settings.insecure)
    try:
        bundle = ctx.staging / "bundle"
        if isinstance(where, Path):
            _copy(ctx, where, entry, bundle)
        else:
            _fetch(ctx, where, entry, bundle, settings.insecure)
        yield bundle
        bundle.unlink()
    except OSError as error:
        full = "free some space and try again"
        raise HostError(f"the bundle could not be written: {error.strerror}", hint=full) from error


def _copy(ctx: PullContext, path: Path, entry: Entry, copy: Path) -> None:
    """Copy a bundle from beside a catalog that is a file, so that it stays what it was when it was hashed."""
    from banger.api import copy_disk, digest_file

    if not path.is_file():
        raise NotFoundError(f"there is no {path}", hint="tell who keeps the catalog")
    copy_disk(path, copy, lambda done, total: ctx.progress("copying", done=done, total=total))
    digest = digest_file(copy, lambda done, total: ctx.progress("checking", done=done, total=total))
    if digest != f"sha256:{entry.sha256}" or copy.stat().st_size != entry.size:
        raise ImageError(f"{path} is not what the catalog says: it has another digest or size")


def _fetch(ctx: PullContext, url: str, entry: Entry, bundle: Path, insecure: tuple[str, ...]) -> None:
    """Fetch a bundle into staging, by way of the cache, where a download that is cut off waits for the next try."""
    assert entry.sha256 is not None
    assert entry.size is not None
    cache = ctx.cache / "bundles"
    cache.mkdir(mode=0o700, exist_ok=True)
    _drop_stale(cache)
    done, size = [0], entry.size
    connections = Connections(lambda: ctx.progress("fetching", done=done[0], total=size), plain=PLAIN)

    def tick(count: int) -> None:
        done[0] = count

    try:
        site = Site(connections, insecure)
        for _ in range(TRIES):
            site.fetch(url, cache / entry.sha256, f"sha256:{entry.sha256}", size, tick)
            try:
                shutil.move(cache / entry.sha256, bundle)
                return
            except FileNotFoundError:
                continue  # another pull of the same content took it
    finally:
        connections.close()
    raise ImageError("other pulls of the same bundle were always quicker", hint="try again")


def _drop_stale(cache: Path) -> None:
    for part in cache.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if part.stat().st_mtime < time.time() - _STALE:
                part.unlink()
