"""The catalogs: banger's own and those of the settings, with what was learned of them kept in the cache."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from banger.api import BangerError, CancelledError, Connections, HostError, ImageError
from banger_images_catalog.document import DOCUMENT_LIMIT, Document, parse_document
from banger_images_catalog.place import Place, check_place
from banger_images_catalog.site import PLAIN, Site

if TYPE_CHECKING:
    from pydantic import BaseModel

log = logging.getLogger(__name__)

#: Seconds for which what a catalog said is not asked for again: one command looks at it several times.
FRESH = 10.0


class Context(Protocol):
    """What of ``OfferContext`` and ``PullContext`` is needed here."""

    @property
    def cache(self) -> Path: ...

    def settings(self, plugin: str) -> BaseModel: ...

    def progress(
        self, stage: str, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalog, and where it is; banger's own is nowhere."""

    document: Document
    place: Place | None


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a URL said last, and when (seconds since 1970)."""

    document: bytes
    etag: str = ""
    fetched: float = 0.0


def load_catalogs(ctx: Context, *, ask: bool) -> Iterator[Catalog | str]:
    """Yield the catalogs, the configured ones first; for one that cannot be used, or is of yesterday, a line about it.

    :param ask: whether to ask for those of URLs; else what they said last is used.
    """
    settings: Any = ctx.settings("images-catalog")
    for text in settings.catalogs:
        place = check_place(text, settings.insecure)
        try:
            if place.path is not None:
                yield Catalog(parse_document(_read_file(place.path), str(place)), place)
            else:
                yield from _load_url(ctx, place, settings.insecure, ask=ask)
        except CancelledError:
            raise
        except BangerError as error:
            log.warning("the catalog %s is left out: %s", place, error.message)
            yield f"the catalog {place} is left out: {error.message}"
    yield Catalog(parse_document(files(__package__).joinpath("catalog.json").read_bytes(), "of banger"), None)


def _read_file(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(DOCUMENT_LIMIT + 1)
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error


def _load_url(ctx: Context, place: Place, insecure: tuple[str, ...], *, ask: bool) -> Iterator[Catalog | str]:
    file = ctx.cache / "catalogs" / hashlib.sha256(place.url.encode()).hexdigest()[:32]
    kept = _read_kept(file, place)
    if not ask or (kept is not None and abs(time.time() - kept.fetched) < FRESH):
        if kept is not None:
            yield Catalog(parse_document(kept.document, place.url), place)
        return
    try:
        document, kept = _ask(ctx, place, insecure, kept)
    except CancelledError:
        raise
    except BangerError as error:
        if kept is None:
            raise
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(kept.fetched))
        yield f"the catalog {place} cannot be read now, it is that of {when}: {error.message}"
        document = parse_document(kept.document, place.url)
    else:
        _write_kept(file, kept)
    yield Catalog(document, place)


def _ask(ctx: Context, place: Place, insecure: tuple[str, ...], kept: _Kept | None) -> tuple[Document, _Kept]:
    ctx.progress("asking the catalog", place.url)
    connections = Connections(lambda: ctx.progress("asking the catalog", place.url), plain=PLAIN)
    try:
        found = Site(connections, insecure).read(place.url, DOCUMENT_LIMIT, kept.etag if kept else "")
    finally:
        connections.close()
    if found.data is None and kept is None:
        raise ImageError(f"the catalog {place} sent nothing")
    data = found.data if found.data is not None or kept is None else kept.document
    assert data is not None
    return parse_document(data, place.url), _Kept(data, found.etag, time.time())


def _read_kept(file: Path, place: Place) -> _Kept | None:
    """Return what is in the cache; what cannot be read, or is no catalog, is not there."""
    try:
        value = json.loads(file.read_bytes())
        kept = _Kept(value["document"].encode(), str(value["etag"]), float(value["fetched"]))
        parse_document(kept.document, place.url)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, BangerError):
        return None
    return kept


def _write_kept(file: Path, kept: _Kept) -> None:
    text = json.dumps({"etag": kept.etag, "fetched": kept.fetched, "document": kept.document.decode()})
    part = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        log.warning("what %s said is not kept: %s", file, error)
