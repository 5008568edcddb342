"""A client of registries (OCI distribution specification 1.1): documents, and blobs into a cache."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from banger.api import ImageError, NotFoundError
from banger_images_oci.documents import DOCUMENT_LIMIT, INDEXES, MANIFESTS, Blob
from banger_images_oci.reference import Reference

if TYPE_CHECKING:
    import httpx

#: Seconds without a byte, tries of one request, redirects that are followed, and the longest a Retry-After is kept to.
_SILENCE, _TRIES, _REDIRECTS, _WAIT = 30.0, 5, 5, 20.0
_TRANSIENT = (429, 500, 502, 503, 504)
_CHUNK = 1024 * 1024


class Registry:
    """One repository of one registry.

    :param insecure: registries without TLS.
    :param cancelled: raises when the pull is to end; called while waiting.
    """

    def __init__(
        self, reference: Reference, insecure: tuple[str, ...], cancelled: Callable[[], None]
    ) -> None:
        import httpx

        self._httpx = httpx
        self._plain = reference.host in insecure
        host = "registry-1.docker.io" if reference.host == "docker.io" else reference.host
        self._base = f"{'http' if self._plain else 'https'}://{host}/v2/{reference.path}/"
        self._name = f"{reference.host}/{reference.path}"
        self._scope = f"repository:{reference.path}:pull"
        self._token: str | None = None
        self._cancelled = cancelled
        self._client = httpx.Client(timeout=_SILENCE, follow_redirects=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def document(self, wanted: str) -> bytes:
        """Return a manifest or index by tag or digest; one by digest is checked."""
        accept = ", ".join((*INDEXES, *MANIFESTS))
        with self._get(f"manifests/{wanted}", {"Accept": accept}) as answer:
            data = bytearray()
            for piece in answer.iter_bytes(65536):
                data += piece
                if len(data) > DOCUMENT_LIMIT:
                    raise ImageError(f"the manifest is longer than {DOCUMENT_LIMIT >> 20} MiB")
        if wanted.startswith("sha256:") and f"sha256:{hashlib.sha256(data).hexdigest()}" != wanted:
            raise ImageError(f"{self._name} sent a manifest with another digest than {wanted[:19]}")
        return bytes(data)

    def blob(self, blob: Blob, target: Path, tick: Callable[[int], None]) -> None:
        """Fetch a blob to ``target``, going on where an earlier try stopped; ``tick`` gets the bytes so far."""
        part = target.with_name(f"{target.name}.part")
        for attempt in range(_TRIES):
            try:
                self._fetch(blob, part, tick)
                break
            except self._httpx.TransportError as error:
                if attempt + 1 == _TRIES:
                    raise ImageError(
                        f"{self._name} broke off {_TRIES} times: {ascii(str(error))[1:81]}"
                    ) from error
                self._sleep(0.2 * 2**attempt)
        os.replace(part, target)

    def _fetch(self, blob: Blob, part: Path, tick: Callable[[int], None]) -> None:
        digest, done = hashlib.sha256(), 0
        with open(part, "a+b") as file:
            file.seek(0)
            while data := file.read(_CHUNK):
                digest.update(data)
                done += len(data)
            if done > blob.size:
                file.truncate(0)
                digest, done = hashlib.sha256(), 0
            if done < blob.size:
                headers = {"Range": f"bytes={done}-"} if done else {}
                with self._get(f"blobs/{blob.digest}", headers) as answer:
                    if done and answer.status_code != 206:
                        file.truncate(0)
                        digest, done = hashlib.sha256(), 0
                    for data in answer.iter_raw(_CHUNK):
                        done += len(data)
                        if done > blob.size:
                            break
                        digest.update(data)
                        file.write(data)
                        tick(done)
        if done < blob.size:
            raise self._httpx.ReadError(f"only {done} of {blob.size} bytes came")
        if done > blob.size or f"sha256:{digest.hexdigest()}" != blob.digest:
            part.unlink()
            raise ImageError(f"{self._name} sent other content than {blob.digest[:19]}")

    @contextmanager
    def _get(self, path: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        url, tries = urljoin(self._base, path), 0
        home, redirects = urlsplit(self._base).netloc, 0
        while True:
            self._cancelled()
            own = urlsplit(url).netloc == home
            sent = {**headers, "Accept-Encoding": "identity"}
            if own and self._token is not None:
                sent["Authorization"] = self._token
            answer = self._send(url, sent)
            try:
                status = answer.status_code
                if status in (200, 206):
                    yield answer
                    return
                if status in (301, 302, 303, 307, 308):
                    redirects += 1
                    url = self._redirected(url, answer, redirects)
                elif status == 401 and own and self._token is None:
                    self._token = self._log_in(answer.headers.get("WWW-Authenticate", ""))
                elif status in _TRANSIENT and tries + 1 < _TRIES:
                    tries += 1
                    self._sleep(_pause(answer.headers.get("Retry-After", ""), tries))
                else:
                    raise self._refused(status)
            finally:
                answer.close()

    def _send(self, url: str, headers: dict[str, str]) -> httpx.Response:
        for attempt in range(_TRIES):
            try:
                return self._client.send(self._client.build_request("GET", url, headers=headers), stream=True)
            except (self._httpx.TransportError, self._httpx.InvalidURL) as error:
                if attempt + 1 == _TRIES or isinstance(error, self._httpx.InvalidURL):
                    hint = "check the name, the network, and [plugins.images-oci] insecure for a registry without TLS"
                    said = ascii(str(error) or type(error).__name__)[1:121]
                    raise ImageError(
                        f"{urlsplit(url).netloc} cannot be reached: {said}", hint=hint
                    ) from error
                self._sleep(0.2 * 2**attempt)
        raise AssertionError("the last try returns or raises")

    def _redirected(self, url: str, answer: httpx.Response, redirects: int) -> str:
        target: str = urljoin(url, answer.headers.get("Location", ""))
        scheme = urlsplit(target).scheme
        if redirects > _REDIRECTS:
            raise ImageError(f"{self._name} redirects more than {_REDIRECTS} times")
        if scheme != "https" and not (scheme == "http" and self._plain):
            raise ImageError(f"{self._name} redirects to something without TLS")
        return target

    def _log_in(self, challenge: str) -> str:
        """Return the header for an anonymous token."""
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge[:4096]))
        realm = fields.get("realm", "")
        if not challenge.lower().startswith("bearer ") or urlsplit(realm).scheme not in ("https", "http"):
            raise self._refused(401)
        if urlsplit(realm).scheme == "http" and not self._plain:
            raise ImageError(f"{self._name} wants a login without TLS")
        params = {"scope": self._scope, **({"service": fields["service"]} if "service" in fields else {})}
        answer = self._send(str(self._httpx.URL(realm, params=params)), {})
        try:
            data = b""
            for piece in answer.iter_bytes(65536):
                data += piece
                if len(data) > 1 << 20:
                    break
        finally:
            answer.close()
        if answer.status_code != 200:
            raise self._refused(answer.status_code)
        from banger_images_oci.documents import parse_json

        found = parse_json(data, "answer to the login")
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ImageError(f"{self._name} gave no token")
        return f"Bearer {token}"

    def _refused(self, status: int) -> ImageError | NotFoundError:
        if status == 404:
            return NotFoundError(f"{self._name} has no such image", hint="check the name and the tag")
        if status in (401, 403):
            return ImageError(
                f"{self._name} refuses an anonymous pull ({status})",
                hint="fetch it with a tool that is logged in: skopeo copy docker://… oci-archive:FILE, then image pull",
            )
        return ImageError(f"{self._name} answers with status {status}", hint="try again later")

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._cancelled()
            time.sleep(min(left, 0.2))


def _pause(asked: str, tries: int) -> float:
    """Return the seconds to wait: as asked for, within bounds."""
    return (
        min(float(asked), _WAIT) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 0.3 * 2**tries
    )
