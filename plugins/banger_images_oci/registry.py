"""A client of registries (OCI distribution specification 1.1): documents, and blobs into a cache."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from banger.api import ImageError, Login, LoginError, NotFoundError
from banger_images_oci.connection import TRIES, Connections
from banger_images_oci.documents import DOCUMENT_LIMIT, INDEXES, MANIFESTS, Blob, parse_json
from banger_images_oci.reference import Reference, is_insecure, is_loopback

if TYPE_CHECKING:
    import httpx

#: Redirects that are followed, the longest a Retry-After is kept to (seconds), bytes of an answer to a login.
_REDIRECTS, _WAIT, _LOGIN_LIMIT = 5, 20.0, 1 << 20
_TRANSIENT = (429, 500, 502, 503, 504)
_CHUNK = 1024 * 1024


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
                self._broke_off(attempt, error)
        if wanted.startswith("sha256:") and f"sha256:{hashlib.sha256(data).hexdigest()}" != wanted:
            raise ImageError(f"{self._name} sent a manifest with another digest than {wanted[:19]}")
        return data

    def blob(self, blob: Blob, target: Path, tick: Callable[[int], None]) -> None:
        """Fetch a blob to ``target``, going on where an earlier try stopped; ``tick`` gets the bytes so far.

        Of several that fetch the same blob, in this process or another, one does and the others wait.
        """
        part = target.with_name(f"{target.name}.part")
        with self._hold(part, target) as file:
            if file is None:
                return
            for attempt in range(TRIES):
                try:
                    self._fetch(blob, file, tick)
                    break
                except self._httpx.TransportError as error:
                    self._broke_off(attempt, error)
                except ImageError:
                    part.unlink(missing_ok=True)
                    raise
            file.flush()  # what a crash makes of it is seen by its digest
            os.replace(part, target)

    @contextmanager
    def _hold(self, part: Path, target: Path) -> Iterator[IO[bytes] | None]:
        """Give the part, locked; None when somebody else has finished it meanwhile."""
        while True:
            with open(part, "a+b") as file:
                while not _lock(file):
                    self._connections.sleep(0.1)
                if not _is_same(file, part):
                    continue  # it was finished, or thrown away, by whoever had it
                if target.exists():
                    part.unlink()
                    yield None
                else:
                    yield file
                return

    def _fetch(self, blob: Blob, file: IO[bytes], tick: Callable[[int], None]) -> None:
        digest, done = _hash_part(file, blob.size)
        if done < blob.size:
            headers = {"Range": f"bytes={done}-"} if done else {}
            with self._get(f"blobs/{blob.digest}", headers) as answer:
                if done and not _goes_on(answer, done):
                    file.truncate(0)
                    digest, done = hashlib.sha256(), 0
                for data in answer.iter_raw():
                    done += len(data)
                    if done > blob.size:
                        break
                    digest.update(data)
                    file.write(data)
                    self._connections.moved(len(data))
                    tick(done)
        if done < blob.size:
            raise self._httpx.ReadError(f"only {done} of {blob.size} bytes came")
        if done > blob.size or f"sha256:{digest.hexdigest()}" != blob.digest:
            raise ImageError(f"{self._name} sent other content than {blob.digest[:19]}")

    def _broke_off(self, attempt: int, error: Exception) -> None:
        """Wait before the next try; raise when there is none."""
        self._connections.check()
        if attempt + 1 == TRIES:
            said = ascii(str(error) or type(error).__name__)[1:-1][:80]
            raise ImageError(
                f"{self._name} broke off {TRIES} times: {said}", hint="try again later"
            ) from error
        self._connections.sleep(0.2 * 2**attempt)

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
                    self._connections.sleep(_pause(answer.headers.get("Retry-After", ""), tries))
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


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same(file: IO[bytes], path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file.fileno()), there)


def _hash_part(file: IO[bytes], limit: int) -> tuple[hashlib._Hash, int]:
    """Return the state of the digest of what is there, and its bytes; what is too long is thrown away."""
    digest, done = hashlib.sha256(), 0
    file.seek(0)
    while data := file.read(_CHUNK):
        digest.update(data)
        done += len(data)
    if done > limit:
        file.truncate(0)
        return hashlib.sha256(), 0
    return digest, done


def _goes_on(answer: httpx.Response, done: int) -> bool:
    """Tell whether an answer is the rest from a byte on."""
    found = re.match(r"bytes (\d{1,15})-", answer.headers.get("Content-Range", ""))
    return answer.status_code == 206 and found is not None and int(found[1]) == done


def _pause(asked: str, tries: int) -> float:
    """Return the seconds to wait: as asked for, within bounds."""
    return (
        min(float(asked), _WAIT) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 0.3 * 2**tries
    )
