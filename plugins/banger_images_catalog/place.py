"""Where catalogs and their files are, and which places may lead to which others."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from banger.api import ImageError

#: Printable ASCII without blanks, quotes and backslashes: what a URL consists of.
URL = r"[!#-;=?-\[\]_a-z~%]{1,2048}"
_URL = re.compile(rf"{URL}\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """A catalog's place: a URL, or a file of this machine (``path``)."""

    url: str = ""
    path: Path | None = None

    def __str__(self) -> str:
        return self.url or str(self.path)


def check_place(text: str, insecure: tuple[str, ...]) -> Place:
    """Return where a catalog is; ValueError with what is wrong with it."""
    if text.startswith(("/", "~/")):
        if "\0" in text:
            raise ValueError("a path with a zero byte in it")
        return Place(path=Path(os.path.expanduser(text)))
    if problem := _find_problem(text, insecure, plain=True):
        raise ValueError(f"{ascii(text)[1:-1][:120]} {problem}")
    return Place(url=text)


def resolve_url(place: Place, text: str, insecure: tuple[str, ...]) -> str | Path:
    """Return where a file of a catalog is: a URL or, beside or below a catalog that is a file, a path.

    :raises ImageError: the catalog may not lead there.
    """
    if place.path is not None and not urlsplit(text).scheme:
        parts = text.split("/")
        if text.startswith("/") or ".." in parts or "%" in text or "?" in text:
            raise ImageError(
                f"the catalog {place} leads to {ascii(text)[1:-1][:120]}, outside of its directory"
            )
        return place.path.parent.joinpath(*parts)
    url = urljoin(place.url, text) if place.url else text
    plain = place.path is not None or urlsplit(place.url).scheme == "http"
    if problem := _find_problem(url, insecure, plain=plain):
        raise ImageError(f"the catalog {place} leads to {ascii(url)[1:-1][:120]}, which {problem}")
    return url


def check_redirect(origin: str, target: str, insecure: tuple[str, ...]) -> str:
    """Return a redirect's target; ImageError when the origin may not lead there."""
    url = urljoin(origin, target)
    if problem := _find_problem(url, insecure, plain=urlsplit(origin).scheme == "http"):
        raise ImageError(f"{urlsplit(origin).netloc} redirects to {ascii(url)[1:-1][:120]}, which {problem}")
    return url


def _find_problem(url: str, insecure: tuple[str, ...], *, plain: bool) -> str:
    """Return what is wrong with a URL; empty when nothing is.

    :param plain: whether it may be one without TLS, on the hosts that may.
    """
    if not _URL.match(url):
        return "is no URL"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in ("http", "https") or not host:
        return "is neither an https:// URL nor an absolute path"
    if "@" in parts.netloc:
        return "has a user in it"
    if parts.scheme == "http" and not (plain and _is_insecure(parts.netloc, host, insecure)):
        return "has no TLS: use https, or list the host in [plugins.images-catalog] insecure"
    return ""


def _is_insecure(netloc: str, host: str, insecure: tuple[str, ...]) -> bool:
    return netloc in insecure or host in insecure
