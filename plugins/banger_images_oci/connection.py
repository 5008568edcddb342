"""Connections of one pull: through the caller's proxies, with the caller's authorities, never slow for long."""

from __future__ import annotations

import logging
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from banger.api import ConfigError, ImageError, find_authorities, find_proxy

if TYPE_CHECKING:
    import socket

    import httpx

#: Tries of one request, seconds without a byte, and seconds in which at least so many bytes come.
TRIES, SILENCE = 5, 30.0
WINDOW, WINDOW_BYTES = 60.0, 65536
#: What OpenSSL says of a certificate that nobody vouches for.
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
#: Seconds between two looks at whether the pull was cancelled or stands still.
_LOOK = 0.25


class Connections:
    """HTTP clients, one for each proxy, and a thread that breaks them off when the pull ends or stands still.

    :param report: tells of progress and raises when the pull is cancelled; called several times a second.
    :param window: seconds in which ``WINDOW_BYTES`` have to come.
    """

    def __init__(self, report: Callable[[], None], *, window: float = WINDOW) -> None:
        import httpx

        # Its lines have whole addresses in them, and in those of stores are signatures.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._httpx = httpx
        self._extensions = {"trace": self._trace}
        self._report, self._window = report, window
        # The caller is known to the thread that pulls, not to those that fetch.
        self._proxy = _remember(find_proxy)
        self._clients: dict[str | None, httpx.Client] = {}
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        self._authorities = find_authorities()
        self._moved, self._since = 0, time.monotonic()
        self._ended = threading.Event()
        self._cause: BaseException | None = None
        self._watch = threading.Thread(target=self._run, name="banger-registry", daemon=True)
        self._watch.start()

    def close(self) -> None:
        """Close everything."""
        self._ended.set()
        self._watch.join()
        for client in self._clients.values():
            client.close()

    def moved(self, count: int) -> None:
        """Note that so many bytes came, or that an answer did."""
        self._moved += count

    def break_off(self, cause: BaseException) -> None:
        """End what still runs."""
        self._cause = self._cause or cause
        self._break_off()

    def check(self) -> None:
        """Raise what ended the pull, if something did."""
        if self._cause is not None:
            raise self._cause

    def sleep(self, seconds: float) -> None:
        """Wait; raises when the pull is cancelled."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _LOOK))
            self.moved(WINDOW_BYTES)

    def send(self, url: str, headers: dict[str, str], form: dict[str, str] | None = None) -> httpx.Response:
        """Return an answer whose body is still to come; what breaks before that is tried again.

        :param form: posted, where there is one.
        """
        for attempt in range(TRIES):
            self.check()
            try:
                client = self._client(url)
                method = "GET" if form is None else "POST"
                request = client.build_request(
                    method, url, headers=headers, data=form, extensions=self._extensions
                )
                answer = client.send(request, stream=True)
                self.moved(WINDOW_BYTES)
                return answer
            except (self._httpx.TransportError, self._httpx.InvalidURL, ImportError, ValueError) as error:
                self.check()
                transient = isinstance(error, self._httpx.TransportError) and _UNTRUSTED not in str(error)
                if attempt + 1 == TRIES or not transient:
                    raise self._unreachable(url, error) from error
                self.sleep(0.2 * 2**attempt)
        raise AssertionError("the last try returns or raises")

    def _unreachable(self, url: str, error: Exception) -> ImageError:
        said = ascii(str(error) or type(error).__name__)[1:-1][:120]
        host, proxy = urlsplit(url).netloc, self._proxy(url)
        through = f" through the proxy {urlsplit(proxy).netloc.rpartition('@')[2]}" if proxy else ""
        hint = "check the name and the network; a registry without TLS: [plugins.images-oci] insecure"
        if _UNTRUSTED in said:
            hint = "SSL_CERT_FILE names a file with the authority that signed it; ca-certificates has the usual ones"
        return ImageError(f"{ascii(host)[1:-1][:100]} cannot be reached{through}: {said}", hint=hint)

    def _client(self, url: str) -> httpx.Client:
        proxy = self._proxy(url)
        with self._lock:
            if proxy not in self._clients:
                if self._tls is None:
                    self._tls = _make_context(*self._authorities)
                self._clients[proxy] = self._httpx.Client(
                    timeout=SILENCE,
                    follow_redirects=False,
                    trust_env=False,
                    verify=self._tls,
                    proxy=proxy,
                    headers={"User-Agent": "banger"},
                )
            return self._clients[proxy]

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            found = info["return_value"].get_extra_info("socket")
            if found is not None:
                with self._lock:
                    self._sockets.add(found)

    def _run(self) -> None:
        seen = 0
        while not self._ended.wait(_LOOK):
            try:
                self._report()
            except BaseException as error:
                self._cause = error
                self._break_off()
                return
            if self._moved - seen >= WINDOW_BYTES:
                seen, self._since = self._moved, time.monotonic()
            elif time.monotonic() - self._since > self._window:
                self._since = time.monotonic()
                self._break_off()

    def _break_off(self) -> None:
        import contextlib
        import socket

        with self._lock:
            for each in list(self._sockets):
                with contextlib.suppress(OSError, ValueError):
                    socket.socket.shutdown(each, socket.SHUT_RDWR)


def _remember(find: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """Return a function that knows the caller in other threads as well."""
    import contextvars

    context = contextvars.copy_context()
    return lambda url: context.copy().run(find, url)


def _make_context(file: str | None, directory: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file, capath=directory)
    except (OSError, ValueError) as error:
        hint = "look at SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE"
        raise ConfigError(f"the certificate authorities cannot be read: {error}", hint=hint) from error
