"""The registry client against servers that mean no good, or are only bad."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from misbehaving import Lab, Request, digest, serve

from banger.errors import BangerError, CancelledError, ImageError, NotFoundError
from banger.host import caller
from banger.transfer import connections, download
from banger.transfer.connections import Connections
from banger_images_oci import registry
from banger_images_oci.documents import Blob
from banger_images_oci.reference import parse_reference
from banger_images_oci.registry import Registry

CONTENT = bytes(range(256)) * 2000
BLOB = Blob(digest(CONTENT), len(CONTENT))
PLAIN = ("127.0.0.1", "localhost")


@pytest.fixture(autouse=True)
def nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*caller.PROXIES, *caller.CERTIFICATES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TRIES", 2)
    monkeypatch.setattr(download, "TRIES", 2)
    monkeypatch.setattr(registry, "TRIES", 2)


@contextmanager
def client(
    host: str,
    report: Callable[[], None] = lambda: None,
    *,
    window: float = 60.0,
    insecure: tuple[str, ...] = PLAIN,
) -> Iterator[Registry]:
    connections = Connections(report, window=window)
    try:
        yield Registry(parse_reference(f"{host}/some/image:v1"), insecure, connections)
    finally:
        connections.close()


def fetch(host: str, directory: Path, blob: Blob = BLOB) -> bytes:
    target = directory / blob.digest[7:]
    with client(host) as found:
        found.blob(blob, target, lambda done: None)
    return target.read_bytes()


def refused(handle: Callable[[Request], None], tmp_path: Path) -> tuple[str, Lab]:
    """Return the error for a blob, which is one line and leaves nothing that looks like the blob."""
    with serve(handle) as lab:
        with pytest.raises(BangerError) as caught:
            fetch(lab.host, tmp_path)
        assert "\n" not in caught.value.message and len(caught.value.message) < 300
        assert not (tmp_path / BLOB.digest[7:]).exists()
        return caught.value.message, lab


def test_a_blob_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    def handle(request: Request) -> None:
        start = int(request.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        rest = CONTENT[start:]
        sent = rest[:200_000]
        span = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        request.answer(206 if start else 200, sent, length=len(rest), Content_Range=span)

    with serve(handle) as lab:
        assert fetch(lab.host, tmp_path) == CONTENT
        assert [headers.get("range") for _, headers in lab.asked] == [None, "bytes=200000-", "bytes=400000-"]
    assert [path.name for path in tmp_path.iterdir()] == [BLOB.digest[7:]]


def test_a_server_that_cannot_go_on_begins_again(tmp_path: Path) -> None:
    cut = [True]

    def handle(request: Request) -> None:
        sent = CONTENT[:1000] if cut.pop() else CONTENT
        cut.append(False)
        request.answer(200, sent, length=len(CONTENT))

    with serve(handle) as lab:
        assert fetch(lab.host, tmp_path) == CONTENT


def test_what_an_earlier_pull_left_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / f"{BLOB.digest[7:]}.part").write_bytes(b"x" * 1000)

    def handle(request: Request) -> None:
        start = int(request.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        request.answer(206 if start else 200, CONTENT[start:], Content_Range=f"bytes {start}-")

    with serve(handle) as lab:
        with pytest.raises(ImageError, match="other content"):
            fetch(lab.host, tmp_path)
        assert list(tmp_path.iterdir()) == []
        assert fetch(lab.host, tmp_path) == CONTENT


def test_wrong_content(tmp_path: Path) -> None:
    message, lab = refused(lambda request: request.answer(200, CONTENT[:-1] + b"!"), tmp_path)
    assert "other content than sha256:" in message and lab.count("/blobs/") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("two_tries")
def test_always_cut(tmp_path: Path) -> None:
    message, lab = refused(lambda request: request.answer(200, b"", length=len(CONTENT)), tmp_path)
    assert "broke off 2 times" in message and lab.count("/blobs/") == 2


def test_endless_body(tmp_path: Path) -> None:
    def handle(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(bytes(65536))

    message, _ = refused(handle, tmp_path)
    assert "other content" in message


def test_encoded_content(tmp_path: Path) -> None:
    message, _ = refused(lambda request: request.answer(200, CONTENT, Content_Encoding="gzip"), tmp_path)
    assert "encoded as gzip" in message


def test_redirect_loop(tmp_path: Path) -> None:
    message, lab = refused(lambda request: request.answer(307, Location=request.path + "x"), tmp_path)
    assert "redirects more than 5 times" in message and len(lab.asked) == 6


@pytest.mark.parametrize(
    "location", ["http://192.0.2.1/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://a:b@127.0.0.1/x"]
)
def test_redirects_that_are_not_followed(tmp_path: Path, location: str) -> None:
    message, _ = refused(lambda request: request.answer(302, Location=location), tmp_path)
    assert "redirects to" in message


@pytest.mark.parametrize("status", [400, 403, 404, 418])
def test_refusals(tmp_path: Path, status: int) -> None:
    message, lab = refused(lambda request: request.answer(status), tmp_path)
    assert len(lab.asked) == 1
    assert str(status) in message or "no such image" in message


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    statuses = [200, 503, 429]

    def handle(request: Request) -> None:
        status = statuses.pop()
        request.answer(status, CONTENT if status == 200 else b"", Retry_After="0")

    with serve(handle) as lab:
        assert fetch(lab.host, tmp_path) == CONTENT
        assert len(lab.asked) == 3


def test_a_token_stays_with_its_host(tmp_path: Path) -> None:
    def store(request: Request) -> None:
        request.answer(200, CONTENT)

    def handle(request: Request) -> None:
        if request.path.startswith("/token"):
            request.answer(200, b'{"token": "secret"}')
        elif request.headers.get("Authorization") != "Bearer secret":
            request.answer(401, WWW_Authenticate=f'Bearer realm="http://{lab.host}/token",service="s"')
        else:
            request.answer(307, Location=f"http://{elsewhere.host}/blob")

    with serve(store) as elsewhere, serve(handle) as lab:
        assert fetch(lab.host, tmp_path) == CONTENT
        assert "/token?service=s&scope=repository%3Asome%2Fimage%3Apull" in [
            path.replace(
                "scope=repository%3Asome%2Fimage%3Apull&service=s",
                "service=s&scope=repository%3Asome%2Fimage%3Apull",
            )
            for path, _ in lab.asked
        ]
        assert all("authorization" not in headers for _, headers in elsewhere.asked)


@pytest.mark.parametrize(
    "challenge",
    [
        "Bearer",
        'Bearer realm="http://192.0.2.1/token"',
        'Basic realm="x"',
        'Bearer realm="file:///x"',
        "x" * 9000,
    ],
)
def test_logins_that_are_not_made(tmp_path: Path, challenge: str) -> None:
    _, lab = refused(lambda request: request.answer(401, WWW_Authenticate=challenge), tmp_path)
    assert len(lab.asked) == 1


def test_a_refused_token_is_not_asked_for_again(tmp_path: Path) -> None:
    def handle(request: Request) -> None:
        if request.path.startswith("/token"):
            request.answer(200, b'{"token": "no-good"}')
        else:
            request.answer(401, WWW_Authenticate=f'Bearer realm="http://{request.headers["Host"]}/token"')

    message, lab = refused(handle, tmp_path)
    assert "401" in message and lab.count("/token") == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"x" * 5_000_000, "longer than 4 MiB"), (b"", None)],
)
def test_documents(body: bytes, said: str | None) -> None:
    with serve(lambda request: request.answer(200, body)) as lab, client(lab.host) as found:
        if said is None:
            assert found.document("v1") == body
        else:
            with pytest.raises(ImageError, match=said):
                found.document("v1")
        with pytest.raises(ImageError, match=said or "another digest"):
            found.document(BLOB.digest)


def test_an_encoded_manifest() -> None:
    def handle(request: Request) -> None:
        request.answer(200, b"{}", Content_Encoding="br")

    with serve(handle) as lab, client(lab.host) as found, pytest.raises(ImageError, match="encoded as br"):
        found.document("v1")


@pytest.mark.usefixtures("two_tries")
def test_a_trickle_is_broken_off(tmp_path: Path) -> None:
    def handle(request: Request) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\n")
        while not lab.done.wait(0.05):
            request.wfile.write(b"X: y\r\n" if "manifests" in request.path else b"X")

    with serve(handle) as lab, client(lab.host, window=0.5) as found:
        with pytest.raises(ImageError, match="cannot be reached|broke off"):
            found.document("v1")
        with pytest.raises(ImageError, match="cannot be reached|broke off"):
            found.blob(BLOB, tmp_path / "blob", lambda done: None)
    assert not (tmp_path / "blob").exists()


def test_a_cancelled_pull_waits_for_nobody(tmp_path: Path) -> None:
    asked = threading.Event()

    def handle(request: Request) -> None:
        asked.set()
        lab.done.wait(60)

    def report() -> None:
        if asked.is_set():
            raise CancelledError("cancelled by the test")

    with serve(handle) as lab, client(lab.host, report) as found, pytest.raises(CancelledError):
        found.blob(BLOB, tmp_path / "blob", lambda done: None)
    assert len(lab.asked) == 1


def test_pulls_at_once_fetch_a_blob_once(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def handle(request: Request) -> None:
        request.answer(200, CONTENT)

    def pull(_: int) -> bytes:
        both.wait(30)
        return fetch(lab.host, tmp_path)

    with serve(handle) as lab, ThreadPoolExecutor(2) as pool:
        assert list(pool.map(pull, range(2))) == [CONTENT, CONTENT]
        assert lab.count("/blobs/") == 1
    assert [path.name for path in tmp_path.iterdir()] == [BLOB.digest[7:]]


def test_the_callers_proxy_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(lambda request: request.answer(200, CONTENT)) as lab:
        monkeypatch.setenv("http_proxy", f"http://{lab.host}")
        with client("registry.test", insecure=("registry.test",)) as found, ThreadPoolExecutor(1) as pool:
            pool.submit(found.blob, BLOB, tmp_path / "blob", lambda done: None).result()
        assert lab.asked[0][0] == f"http://registry.test/v2/some/image/blobs/{BLOB.digest}"


@pytest.mark.usefixtures("two_tries")
def test_errors_name_the_proxy_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@127.0.0.1:1")
    with (
        client("registry.test") as found,
        pytest.raises(ImageError, match="through the proxy 127.0.0.1:1") as caught,
    ):
        found.document("v1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("SSL_CERT_FILE", "/no/such.pem"), ("https_proxy", "socks9://x:1")]
)
def test_nonsense_of_the_caller(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with client("registry.test") as found, pytest.raises(BangerError) as caught:
        found.document("v1")
    assert caught.value.hint and "\n" not in caught.value.message


def test_what_is_not_there() -> None:
    with (
        serve(lambda request: request.answer(404)) as lab,
        client(lab.host) as found,
        pytest.raises(NotFoundError, match="no such image") as caught,
    ):
        found.document("v1")
    assert caught.value.hint
