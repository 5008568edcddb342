"""A client of registries (OCI distribution specification 1.1): documents, and blobs into a cache."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from banger.api import (
    TRIES,
    Connections,
    ImageError,
    Login,
    LoginError,
    NotFoundError,
    Wanted,
    download,
    find_pause,
    retry_later,
)
from banger_images_oci.documents import DOCUMENT_LIMIT, INDEXES, MANIFESTS, Blob, parse_json
from banger_images_oci.reference import Reference, is_insecure, is_loopback

if TYPE_CHECKING:
    import httpx

#: Redirects that are followed, bytes of an answer to a login.
_REDIRECTS, _LOGIN_LIMIT = 5, 1 << 20
_TRANSIENT = (429, 500, 502, 503, 504)


class Registry:
    """One repository of one registry.

    :param insecure: hosts that may be spoken to without TLS.
    :param login: who the caller is there; sent when the registry asks, never to a redirect's target.
    """

    def __init__(
        self,
        reference: Reference,
        insecure: tuple[str, ...],
        connections: Connections,
        login: Login | None = None,
    ) -> None:
        import httpx

        self._httpx = httpx
        self._insecure = insecure
        host = "registry-1.docker.io" if reference.host == "docker.io" else reference.host
        scheme = "http" if is_insecure(host, insecure) else "https"
        self._base = f"{scheme}://{host}/v2/{reference.path}/"
        self._name = f"{reference.host}/{reference.path}"
        self._scope = f"repository:{reference.path}:pull"
        self._token: str | None = None
        self._connections = connections
        self._login = login

    def document(self, wanted: str) -> bytes:
        """Return a manifest or index by tag or digest; one by digest is checked."""
        accept = ", ".join((*INDEXES, *MANIFESTS))
        data = b""
        for attempt in range(TRIES):
            try:
                with self._get(f"manifests/{wanted}", {"Accept": accept}) as answer:
                    data = self._read(answer, DOCUMENT_LIMIT, "manifest")
                break
            except self._httpx.TransportError as error:
                retry_later(self._connections, self._name, attempt, error)
        if wanted.startswith("sha256:") and f"sha256:{hashlib.sha256(data).hexdigest()}" != wanted:
            raise ImageError(f"{self._name} sent a manifest with another digest than {wanted[:19]}")
        return data

    def blob(self, blob: Blob, target: Path, tick: Callable[[int], None]) -> None:
        """Fetch a blob to ``target``, going on where an earlier try stopped; ``tick`` gets the bytes so far.

        Of several that fetch the same blob, in this process or another, one does and the others wait.
        """
        download(
            lambda headers: self._get(f"blobs/{blob.digest}", headers),
            target,
            Wanted(blob.digest, blob.size, self._name),
            self._connections,
            tick,
        )

    @contextmanager
    def _get(self, path: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Give an answer with content, redirects, logins and waits behind it. A token stays with its host."""
        url, tries, redirects = urljoin(self._base, path), 0, 0
        home = urlsplit(self._base)[:2]
        while True:
            own = urlsplit(url)[:2] == home
            sent = {**headers, "Accept-Encoding": "identity"}
            if own and self._token is not None:
                sent["Authorization"] = self._token
            answer = self._connections.send(url, sent)
            try:
                status = answer.status_code
                if status in (200, 206):
                    self._check_encoding(answer)
                    yield answer
                    return
                if status in (301, 302, 303, 307, 308):
                    redirects += 1
                    url = self._redirected(url, answer, redirects)
                elif status == 401 and own and self._token is None:
                    self._token = self._log_in(answer.headers.get("WWW-Authenticate", ""))
                elif status in _TRANSIENT and tries + 1 < TRIES:
                    tries += 1
                    self._connections.sleep(find_pause(answer.headers.get("Retry-After", ""), tries))
                else:
                    raise self._refused(status)
            finally:
                answer.close()

    def _check_encoding(self, answer: httpx.Response) -> None:
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise ImageError(
                f"{self._name} sends content encoded as {ascii(encoding)[1:-1][:20]}, which nobody asked for"
            )

    def _read(self, answer: httpx.Response, limit: int, what: str) -> bytes:
        data = bytearray()
        for piece in answer.iter_raw():
            data += piece
            self._connections.moved(len(piece))
            if len(data) > limit:
                raise ImageError(f"the {what} is longer than {limit >> 20} MiB")
        return bytes(data)

    def _redirected(self, url: str, answer: httpx.Response, redirects: int) -> str:
        target: str = urljoin(url, answer.headers.get("Location", ""))
        if redirects > _REDIRECTS:
            raise ImageError(f"{self._name} redirects more than {_REDIRECTS} times")
        self._check_tls(target, "redirects")
        return target

    def _check_tls(self, url: str, what: str) -> None:
        """Refuse a place without TLS, unless the registry has none either and the place is one that may."""
        parts = urlsplit(url)
        plain = self._base.startswith("http://") and is_insecure(parts.netloc, self._insecure)
        if parts.scheme != "https" and not (parts.scheme == "http" and plain):
            raise ImageError(f"{self._name} {what} to something without TLS")
        if "@" in parts.netloc:
            raise ImageError(f"{self._name} {what} to an address with a user in it")

    def _log_in(self, challenge: str) -> str:
        """Return the header that answers a challenge: with the login there is, or a token for anybody."""
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "basic" and self._login is not None and self._login.user:
            return self._basic(self._base)
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge[:4096]))
        realm = fields.get("realm", "")
        if scheme != "bearer" or not realm:
            raise self._refused(401)
        self._check_tls(realm, "sends logins")
        params = {"scope": self._scope, **({"service": fields["service"]} if "service" in fields else {})}
        answer = self._ask_token(realm, params)
        try:
            if answer.status_code != 200:
                raise self._refused(answer.status_code)
            self._check_encoding(answer)
            found = parse_json(self._read(answer, _LOGIN_LIMIT, "answer to the login"), "answer to the login")
        finally:
            answer.close()
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ImageError(f"{self._name} gave no token")
        return f"Bearer {token}"

    def _ask_token(self, realm: str, params: dict[str, str]) -> httpx.Response:
        headers = {"Accept-Encoding": "identity"}
        if self._login is not None and not self._login.user:
            self._check_private(realm)
            form = {"grant_type": "refresh_token", "refresh_token": self._login.secret, "client_id": "banger"}
            return self._connections.send(realm, headers, form={**params, **form})
        url = str(self._httpx.URL(realm).copy_merge_params(params))
        if self._login is not None:
            headers["Authorization"] = self._basic(realm)
        return self._connections.send(url, headers)

    def _basic(self, url: str) -> str:
        assert self._login is not None
        self._check_private(url)
        pair = f"{self._login.user}:{self._login.secret}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"

    def _check_private(self, url: str) -> None:
        """Refuse to send a secret where others can read it: without TLS it stays on this machine."""
        parts = urlsplit(url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            hint = "give the registry a certificate, or reach it through a loopback port (ssh -L)"
            raise ImageError(f"no login is sent to {ascii(parts.netloc)[1:-1][:100]} without TLS", hint=hint)

    def _refused(self, status: int) -> ImageError | NotFoundError:
        if status == 404:
            return NotFoundError(f"{self._name} has no such image", hint="check the name and the tag")
        if status in (401, 403, 429):
            what = "has enough of" if status == 429 else "refuses"
            if self._login is not None:
                hint = "log in again with docker or podman, or try again later"
                return ImageError(f"{self._name} {what} pulls with your login ({status})", hint=hint)
            return LoginError(
                f"{self._name} {what} anonymous pulls ({status})",
                registry=self._name,
                hint=f"docker login {self._name.partition('/')[0]}, or podman login",
            )
        return ImageError(f"{self._name} answers with status {status}", hint="try again later")
