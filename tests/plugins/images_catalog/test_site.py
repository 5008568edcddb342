"""Servers: one that does what servers do, and ones that misbehave on purpose."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from banger.errors import BangerError, CancelledError, ImageError, NotFoundError
from banger.testing.contracts import RecordedProgress
from banger.transfer import connections, download
from banger_images_catalog import catalogs, site
from banger_images_catalog.catalogs import Catalog, load_catalogs
from banger_images_catalog.source import offer_images, pull_image
from tests.plugins.images_catalog.catalog_lab import (
    answer_file,
    catalog,
    context,
    entry,
    image_members,
    make_rootfs,
    pack,
    publish,
)
from tests.plugins.images_oci.misbehaving import Lab, Request, serve


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try twice, without long waits, and never take a catalog for fresh."""
    for module in (connections, download, site):
        monkeypatch.setattr(module, "TRIES", 2)
    monkeypatch.setattr(catalogs, "FRESH", -1.0)


@pytest.fixture
def www(tmp_path: Path) -> Path:
    """Give a directory with a catalog, and a bundle that does not compress."""
    directory = tmp_path / "www"
    directory.mkdir()
    rootfs = make_rootfs(tmp_path).read_bytes()
    (directory / "rootfs").write_bytes(rootfs)
    noise = {"A": random.Random(7).randbytes(60_000).hex()}
    publish(directory, pack(image_members(rootfs, env=noise)))
    return directory


def pull(lab: Lab, tmp_path: Path, name: str = "one", **members: object) -> RecordedProgress:
    ctx = context(tmp_path, f"http://{lab.host}/catalog.json", name=name, **members)
    pull_image("box", ctx)
    return ctx


def bundle_of(request: Request, www: Path, otherwise: Callable[[Request], None]) -> None:
    """Answer for the bundle as the test says, for the rest as servers do."""
    if request.path.endswith("box.tar.zst"):
        otherwise(request)
    else:
        answer_file(request, www)


def test_plain_server(www: Path, tmp_path: Path) -> None:
    with serve(partial(answer_file, directory=www)) as lab:
        ctx = pull(lab, tmp_path)
    assert (ctx.staging / "rootfs.ext4").read_bytes() == (www / "rootfs").read_bytes()
    assert list((ctx.cache / "bundles").iterdir()) == []
    assert all("authorization" not in headers for _, headers in lab.asked)


def test_cut_in_the_middle_goes_on_from_there(www: Path, tmp_path: Path) -> None:
    data = (www / "box.tar.zst").read_bytes()

    def cut(request: Request) -> None:
        if lab.count("box.tar.zst") == 1:
            request.answer(200, data[: len(data) // 2], length=len(data))
        else:
            answer_file(request, www)

    with serve(lambda request: bundle_of(request, www, cut)) as lab:
        pull(lab, tmp_path)
    ranges = [headers.get("range") for path, headers in lab.asked if path.endswith("zst")]
    assert ranges == [None, f"bytes={len(data) // 2}-"]


def test_pull_that_failed_is_gone_on_with_by_the_next(www: Path, tmp_path: Path) -> None:
    data = (www / "box.tar.zst").read_bytes()

    def cut(request: Request) -> None:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        request.answer(
            206 if start else 200,
            data[start : start + 1000],
            length=len(data) - start,
            Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}",
        )

    with (
        serve(lambda request: bundle_of(request, www, cut)) as lab,
        pytest.raises(ImageError, match="broke off 2"),
    ):
        pull(lab, tmp_path)
    assert [path.stat().st_size for path in (tmp_path / "cache" / "bundles").iterdir()] == [2000]
    with serve(partial(answer_file, directory=www)) as lab:
        pull(lab, tmp_path, "two")
    assert [headers.get("range") for path, headers in lab.asked if path.endswith("zst")] == ["bytes=2000-"]


def test_server_that_does_not_go_on_begins_again(www: Path, tmp_path: Path) -> None:
    data = (www / "box.tar.zst").read_bytes()

    def cut(request: Request) -> None:
        half = lab.count("box.tar.zst") == 1
        request.answer(200, data[: len(data) // 2] if half else data, length=len(data))

    with serve(lambda request: bundle_of(request, www, cut)) as lab:
        ctx = pull(lab, tmp_path)
    assert (ctx.staging / "rootfs.ext4").is_file()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda request, data: request.answer(200, b"x" * len(data)), "sent other content than sha256:"),
        (lambda request, data: request.answer(200, data + b"more"), "sent other content than sha256:"),
        (lambda request, data: request.answer(200, data[:-9]), "broke off 2 times"),
        (lambda request, data: request.answer(200, data, length=len(data) + 9), "."),
        (lambda request, data: request.answer(200, data, Content_Encoding="gzip"), "comes encoded as gzip"),
        (lambda request, data: request.answer(404), "there is no http://127.0.0.1"),
        (lambda request, data: request.answer(401), r"refuses .* \(401\)"),
        (lambda request, data: request.answer(403), r"refuses .* \(403\)"),
        (lambda request, data: request.answer(500, Retry_After="0"), "answers with status 500"),
        (lambda request, data: request.answer(429, Retry_After="0"), "answers with status 429"),
        (lambda request, data: request.answer(418), "answers with status 418"),
        (lambda request, data: request.answer(302, Location="http://images.example.com/box"), "has no TLS"),
        (lambda request, data: request.answer(302, Location="file:///etc/shadow"), "neither an https"),
        (lambda request, data: request.answer(302), "redirects more than 5 times"),
        (lambda request, data: request.answer(302, Location=request.path), "redirects more than 5 times"),
        (lambda request, data: request.wfile.write(b"\0" * 5000), "cannot be reached|broke off"),
    ],
    ids=range(16),
)
def test_misbehaving_server(
    www: Path, tmp_path: Path, answer: Callable[[Request, bytes], None], message: str
) -> None:
    data = (www / "box.tar.zst").read_bytes()
    with serve(lambda request: bundle_of(request, www, lambda request: answer(request, data))) as lab:
        try:
            pull(lab, tmp_path)
        except BangerError as error:
            caught = error.message
            assert caught.isprintable() and len(caught) < 400
        else:
            assert message == ".", "a length that lies is made up for when all bytes came"
            return
    import re

    assert re.search(message, caught)
    assert not any(path.suffix != ".part" for path in (tmp_path / "cache" / "bundles").iterdir())


def test_what_passes_is_waited_for(www: Path, tmp_path: Path) -> None:
    def busy(request: Request) -> None:
        if lab.count("box.tar.zst") == 1:
            request.answer(503, Retry_After="0")
        else:
            answer_file(request, www)

    with serve(lambda request: bundle_of(request, www, busy)) as lab:
        pull(lab, tmp_path)


def test_redirect_to_another_server_is_followed(www: Path, tmp_path: Path) -> None:
    with serve(partial(answer_file, directory=www)) as other:

        def move(request: Request) -> None:
            request.answer(307, Location=f"http://{other.host}{request.path}?signature=secret")

        def without_query(request: Request) -> None:
            request.path = request.path.partition("?")[0]
            answer_file(request, www)

        other.handle = without_query
        with serve(lambda request: bundle_of(request, www, move)) as lab:
            pull(lab, tmp_path)
        assert other.count("box.tar.zst") == 1


def test_cancelled_while_the_server_is_silent(www: Path, tmp_path: Path) -> None:
    asked = threading.Event()

    def silent(request: Request) -> None:
        asked.set()
        lab.done.wait(60)

    class Cancelled(RecordedProgress):
        def progress(self, *args: object, **members: object) -> None:
            if asked.is_set():
                raise CancelledError("cancelled by the test")

    with serve(lambda request: bundle_of(request, www, silent)) as lab:
        plain = context(tmp_path, f"http://{lab.host}/catalog.json")
        ctx = Cancelled(plain.staging, plain.cache, models=plain.models)
        with pytest.raises(CancelledError):
            pull_image("box", ctx)


def test_plain_http_needs_to_be_listed(www: Path, tmp_path: Path) -> None:
    (www / "catalog.json").write_bytes(catalog(entry(b"x", url="http://images.example.com/box")))
    with serve(partial(answer_file, directory=www)) as lab, pytest.raises(ImageError, match="has no TLS"):
        pull(lab, tmp_path)


# Catalogs


class Asking(RecordedProgress):
    """What a source gets to say what it has."""

    ask = True

    def notice(self, text: str) -> None:
        self.stages.append(f"notice: {text}")


def asking(tmp_path: Path, *places: str, name: str, ask: bool = True) -> Asking:
    plain = context(tmp_path, *places, name=name)
    ctx = Asking(plain.staging, plain.cache, models=plain.models)
    ctx.ask = ask
    return ctx


def names(ctx: Asking) -> list[str]:
    return [offer.name for offer in offer_images(ctx)]


def test_catalog_is_asked_for_by_its_etag_and_kept_for_when_nobody_answers(www: Path, tmp_path: Path) -> None:
    with serve(partial(answer_file, directory=www)) as lab:
        place = f"http://{lab.host}/catalog.json"
        assert "box" not in names(asking(tmp_path, place, name="0", ask=False)) and not lab.asked
        assert names(asking(tmp_path, place, name="1"))[0] == "box"
        assert names(asking(tmp_path, place, name="2"))[0] == "box"
        assert [bool(headers.get("if-none-match")) for _, headers in lab.asked] == [False, True]
        (www / "catalog.json").write_bytes(catalog(entry(b"x", name="other")))
        assert names(asking(tmp_path, place, name="3"))[0] == "other"
    ctx = asking(tmp_path, place, name="4")
    assert names(ctx)[0] == "other"
    assert any("cannot be read now, it is that of" in stage for stage in ctx.stages)
    assert names(asking(tmp_path, place, name="5", ask=False))[0] == "other"


def test_catalog_that_cannot_be_had_stands_in_nobodys_way(www: Path, tmp_path: Path) -> None:
    good, bad = www / "catalog.json", www / "bad.json"
    bad.write_text("{")
    ctx = asking(
        tmp_path, str(bad), str(www / "none.json"), "https://127.0.0.1:1/c.json", str(good), name="1"
    )
    assert names(ctx)[:2] == ["box", "debian-bookworm"]
    notices = [stage for stage in ctx.stages if stage.startswith("notice: ")]
    assert len(notices) == 3
    assert "is no JSON" in notices[0] and "No such file" in notices[1] and "cannot be reached" in notices[2]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "is no JSON"),
        (b" " * (5 << 20), "is longer than 4 MiB"),
        (catalog({**entry(b"x"), "name": "../../x"}), "is wrong: images.0.name"),
    ],
    ids=range(3),
)
def test_hostile_catalog_of_a_server_is_left_out_and_not_kept(
    tmp_path: Path, body: bytes, message: str
) -> None:
    with serve(lambda request: request.answer(200, body)) as lab:
        ctx = asking(tmp_path, f"http://{lab.host}/catalog.json", name="1")
        assert "box" not in names(ctx)
    assert any(message in stage for stage in ctx.stages)
    assert not list((tmp_path / "cache").rglob("catalogs/*"))


def test_damaged_cache_is_asked_for_again(www: Path, tmp_path: Path) -> None:
    with serve(partial(answer_file, directory=www)) as lab:
        place = f"http://{lab.host}/catalog.json"
        names(asking(tmp_path, place, name="1"))
        (kept,) = (tmp_path / "cache" / "catalogs").iterdir()
        for number, damage in enumerate((b"", b"{}", b"[]", b'{"document": 1, "etag": 2, "fetched": "x"}')):
            kept.write_bytes(damage)
            assert names(asking(tmp_path, place, name=f"again {number}"))[0] == "box"
        assert json.loads(kept.read_bytes())["etag"]


def test_first_catalog_wins_and_bangers_own_is_last(tmp_path: Path) -> None:
    for name, text in (("a", "first"), ("b", "second")):
        (tmp_path / name).write_bytes(catalog({"name": "debian-bookworm", "recipe": f"debian:{text}"}))
    ctx = asking(tmp_path, str(tmp_path / "a"), str(tmp_path / "b"), name="1")
    found = {offer.name: offer.reference for offer in offer_images(ctx)}
    assert found["debian-bookworm"] == "debian:first" and found["debian-trixie"] == "debian:trixie"
    assert [type(one) for one in load_catalogs(ctx, ask=False)] == [Catalog] * 3


def test_other_architectures_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(catalog(entry(b"x", arch="vax"), entry(b"x", name="mine")))
    assert names(asking(tmp_path, str(tmp_path / "c"), name="1"))[0] == "mine"
    with pytest.raises(NotFoundError, match="no catalog has the image 'box' for this machine"):
        pull_image("box", context(tmp_path, str(tmp_path / "c")))
