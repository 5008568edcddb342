"""A plain web server: files by URL, with redirects, waits and resumed downloads. No login is ever sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from banger.api import TRIES, ImageError, NotFoundError, Wanted, download, find_pause, retry_later
from banger_images_catalog.place import check_redirect

if TYPE_CHECKING:
    import httpx

    from banger.api import Connections

#: Redirects that are followed.
_REDIRECTS = 5
_TRANSIENT = (429, 500, 502, 503, 504)
#: What to say to who means a place without TLS.
PLAIN = "a server without TLS: [plugins.images-catalog] insecure"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was asked for: its bytes, None when they are what they were; and its ETag."""

    data: bytes | None
    etag: str = ""


class Site:
    """Files on web servers.

    :param insecure: hosts that may be spoken to without TLS.
    """

    def __init__(self, connections: Connections, insecure: tuple[str, ...]) -> None:
        self._connections = connections
        self._insecure = insecure

    def read(self, url: str, limit: int, etag: str = "") -> Fetched:
        """Return a small file, unless it is still the one with that ETag.

        :raises ImageError: it cannot be had, or is longer than ``limit`` bytes.
        """
        import httpx

        host = urlsplit(url).netloc
        for attempt in range(TRIES):
            try:
                with self._get(url, {"If-None-Match": etag} if etag else {}) as answer:
                    if answer.status_code == 304:
                        return Fetched(None, etag)
                    return Fetched(self._read(answer, limit, url), answer.headers.get("ETag", "")[:200])
            except httpx.TransportError as error:
                retry_later(self._connections, host, attempt, error)
        raise AssertionError("the last try returns or raises")

    def fetch(self, url: str, target: Path, digest: str, size: int, tick: Callable[[int], None]) -> None:
        """Fetch a file of known digest and size, going on where an earlier try stopped."""
        wanted = Wanted(digest, size, urlsplit(url).netloc)
        download(lambda headers: self._get(url, headers), target, wanted, self._connections, tick)

    @contextmanager
    def _get(self, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Give an answer with content, or one that says that nothing changed; redirects and waits behind it."""
        tries, redirects, first = 0, 0, url
        while True:
            answer = self._connections.send(url, {**headers, "Accept-Encoding": "identity"})
            try:
                status = answer.status_code
                if status in (200, 206) or (status == 304 and "If-None-Match" in headers):
                    _check_encoding(answer, url)
                    yield answer
                    return
                if status in (301, 302, 303, 307, 308):
                    redirects += 1
                    if redirects > _REDIRECTS:
                        raise ImageError(f"{urlsplit(first).netloc} redirects more than {_REDIRECTS} times")
                    url = check_redirect(url, answer.headers.get("Location", ""), self._insecure)
                elif status in _TRANSIENT and tries + 1 < TRIES:
                    tries += 1
                    self._connections.sleep(find_pause(answer.headers.get("Retry-After", ""), tries))
                else:
                    raise _refused(url, status)
            finally:
                answer.close()

    def _read(self, answer: httpx.Response, limit: int, url: str) -> bytes:
        data = bytearray()
        for piece in answer.iter_raw():
            data += piece
            self._connections.moved(len(piece))
            if len(data) > limit:
                raise ImageError(f"{_show(url)} is longer than {limit >> 20} MiB")
        return bytes(data)


def _check_encoding(answer: httpx.Response, url: str) -> None:
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ImageError(
            f"{_show(url)} comes encoded as {ascii(encoding)[1:-1][:20]}, which nobody asked for",
            hint="the server has to send files as they are",
        )


def _refused(url: str, status: int) -> ImageError | NotFoundError:
    if status == 404:
        return NotFoundError(f"there is no {_show(url)}", hint="tell who keeps the catalog")
    if status in (401, 403):
        return ImageError(
            f"{urlsplit(url).netloc} refuses {_show(url)} ({status})",
            hint="catalogs are read without a login: the server has to let this machine read",
        )
    return ImageError(f"{urlsplit(url).netloc} answers with status {status}", hint="try again later")


def _show(url: str) -> str:
    """Return a URL without its query, which may have a signature in it."""
    return ascii(url.partition("?")[0])[1:-1][:160]
