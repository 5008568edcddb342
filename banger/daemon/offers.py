"""What sources have by name, and which of them a reference means."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from banger.daemon.context import OperationContext
from banger.errors import BangerError, CancelledError, ConflictError, NotFoundError, PluginError
from banger.model.name import check_ref_name, unknown_hint
from banger.model.source import ImageSource, KernelSource, Offer
from banger.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

log = logging.getLogger(__name__)

#: The scheme of references that have a slash and no scheme, as people know them: ``docker.io/library/debian:bookworm``.
CONTAINERS = "oci"

S = TypeVar("S", ImageSource, KernelSource)


@dataclass(frozen=True, slots=True)
class Target(Generic[S]):
    """What a reference means: a source, its own part of the reference, the name it gives; the offer it came from."""

    source: S
    rest: str
    name: str
    offer: Offer | None = None

    @property
    def reference(self) -> str:
        """The whole reference, scheme included."""
        return f"{self.source.scheme}:{self.rest}"


class Asking:
    """:class:`banger.model.source.OfferContext` for one source."""

    def __init__(self, op: OperationContext, scheme: str, *, ask: bool) -> None:
        self.cache: Path = op.services.paths.cache / "sources" / scheme
        self.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.arch = platform.machine()
        self.ask = ask
        self._op = op

    def settings(self, plugin: str) -> BaseModel:
        return self._op.services.plugin_settings.get(plugin)

    def notice(self, text: str) -> None:
        self._op.event("notice", text=text)

    def progress(
        self, stage: str, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        self._op.progress(stage, detail, done=done, total=total)


def find_offers(op: OperationContext, sources: Registry[S], *, ask: bool) -> dict[str, Offer]:
    """Return what sources offer, by name; of several offers of a name, the first.

    A source that fails is left out and said: the others' names work without it.

    :param ask: whether they may ask the network.
    """
    table: dict[str, Offer] = {}
    for source in sources.values():
        if source.offers is None:
            continue
        try:
            for offer in source.offers(Asking(op, source.scheme, ask=ask)):
                table.setdefault(offer.name, offer)
        except CancelledError:
            raise
        except BangerError as error:
            log.warning("%s '%s' is left out: %s", sources.noun, source.scheme, error)
            op.event("notice", text=f"{source.scheme} is left out: {error.message}")
        except Exception as error:
            raise _broken(sources, source, f"{type(error).__name__}: {error}") from error
    return table


def resolve_source(op: OperationContext, sources: Registry[S], reference: str, what: str) -> Target[S]:
    """Return what a reference means: with a scheme, that source; a name: what is offered by it, or known.

    :param what: ``image`` or ``kernel``.
    :raises NotFoundError: nothing. :raises ConflictError: two sources know the name.
    """
    scheme, colon, rest = reference.partition(":")
    if "/" in reference and scheme not in sources and CONTAINERS in sources:
        return _resolve_scheme(sources, CONTAINERS, reference)
    if colon:
        return _resolve_scheme(sources, scheme, rest)
    offers: dict[str, Offer] = find_offers(op, sources, ask=True)
    if reference in offers:
        return _resolve_offer(sources, offers[reference])
    table: dict[str, list[tuple[S, str]]] = known_names(sources)
    found = table.get(reference, [])
    if len({source.scheme for source, _ in found}) > 1:
        choices = [f"{source.scheme}:{known}" for source, known in found]
        raise ConflictError(
            f"{' and '.join(choices)} are both called '{reference[:80]}'",
            hint=f"say which: {' or '.join(choices)}",
        )
    if found:
        source, known = found[0]
        return Target(source, known, reference)
    database = op.services.database
    stored: list[str] = [thing.name for thing in database.images()] if what == "image" else []
    stored += [thing.name for thing in database.kernels()] if what == "kernel" else []
    raise _unknown(sources, reference, what, [*dict.fromkeys([*stored, *table, *offers])])


def _unknown(sources: Registry[S], reference: str, what: str, names: Iterable[str]) -> NotFoundError:
    hint = unknown_hint(reference, names, f"see: banger {what} list --available")
    if CONTAINERS in sources and not hint.startswith("did you mean"):
        hint = f"{hint}; an image of Docker Hub is docker.io/library/{reference[:80]}"
    return NotFoundError(f"there is no {what} '{reference[:80]}'", hint=hint)


def _resolve_scheme(sources: Registry[S], scheme: str, rest: str) -> Target[S]:
    if scheme not in sources and CONTAINERS in sources:
        docker = f"an image of Docker Hub is docker.io/library/{scheme[:80]}:{rest[:80]}"
        raise NotFoundError(
            f"there is no {sources.noun} '{scheme[:80]}'",
            hint=f"{unknown_hint(scheme, sources, '')}; {docker}",
        )
    source = sources.resolve(scheme)
    return Target(source, rest, _default_name(sources, source, rest))


def _resolve_offer(sources: Registry[S], offer: Offer) -> Target[S]:
    scheme, _, rest = offer.reference.partition(":")
    if scheme not in sources:
        raise NotFoundError(
            f"'{offer.name}' comes from {offer.reference[:120]}, and there is no {sources.noun} '{scheme[:80]}'",
            hint="see: banger plugins list",
        )
    source = sources[scheme]
    _default_name(sources, source, rest)
    return Target(source, rest, check_ref_name(offer.name, "an image or kernel"), offer)


def known_names(sources: Registry[S]) -> dict[str, list[tuple[S, str]]]:
    """Return what the sources suggest, by name: each with its source and reference, several where names clash.

    A source that fails is left out and logged: the others' names work without it.
    """
    table: dict[str, list[tuple[S, str]]] = {}
    for source in sources.values():
        try:
            names = [(_default_name(sources, source, known), known) for known in source.known]
        except BangerError as error:
            log.warning("%s '%s' is left out: %s", sources.noun, source.scheme, error)
            continue
        for name, known in names:
            table.setdefault(name, []).append((source, known))
    return table


def list_offers(op: OperationContext, sources: Registry[S], *, ask: bool) -> tuple[Offer, ...]:
    """Return what can be pulled, each as it is to be typed: by name, or by whole reference where a name clashes."""
    offers = find_offers(op, sources, ask=ask)
    for name, found in known_names(sources).items():
        if name in offers:
            continue
        clash = len({source.scheme for source, _ in found}) > 1
        for source, known in found:
            reference = f"{source.scheme}:{known}"
            typed = reference if clash else name
            size = source.size(known) if isinstance(source, KernelSource) and source.size else None
            offers[typed] = Offer(typed, reference, size=size)
    return tuple(offers[name] for name in sorted(offers))


def _default_name(sources: Registry[S], source: S, reference: str) -> str:
    """Ask a source what a reference is called; whatever is wrong with its answer is the plugin's error."""
    try:
        name = source.default_name(reference)
    except BangerError:
        raise
    except Exception as error:
        raise _broken(sources, source, f"{type(error).__name__}: {error}") from error
    if not isinstance(name, str):
        raise _broken(sources, source, f"default_name returned {type(name).__name__}, not a name")
    return name


def _broken(sources: Registry[S], source: S, reason: str) -> PluginError:
    plugin = sources.owner(source.scheme)
    return PluginError(
        f"{sources.noun} '{source.scheme}' of plugin '{plugin}' failed: {reason}",
        hint=f"report it to plugin {plugin}",
        plugin=plugin,
    )
