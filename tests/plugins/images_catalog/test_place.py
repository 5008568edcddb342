"""Where catalogs may be, and where they may lead."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from banger.errors import ImageError
from banger_images_catalog.place import Place, check_place, check_redirect, resolve_url
from banger_images_catalog.settings import Settings

LISTED = ("127.0.0.1", "lab.test:8080")


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("http://images.example.com/catalog.json", "has no TLS"),
        ("http://lab.test/catalog.json", "has no TLS"),
        ("ftp://images.example.com/catalog.json", "neither an https:// URL nor an absolute path"),
        ("file:///etc/passwd", "neither an https:// URL nor an absolute path"),
        ("catalog.json", "neither an https:// URL nor an absolute path"),
        ("https://me:secret@images.example.com/c", "has a user in it"),
        ("https:///c", "neither"),
        ("https://host:port/", "is no URL"),
        ("https://ex ample/", "is no URL"),
        ("https://example\n/", "is no URL"),
        ("/etc/\0", "zero byte"),
        ("", "is no URL"),
    ],
)
def test_places_that_are_refused(place: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_place(place, LISTED)
    with pytest.raises(ValidationError, match=problem):
        Settings(catalogs=(place,), insecure=LISTED)


def test_places() -> None:
    assert check_place("/srv/catalog.json", ()).path == Path("/srv/catalog.json")
    assert check_place("~/catalog.json", ()).path == Path.home() / "catalog.json"
    for url in ("https://x/c.json", "http://127.0.0.1:9/c.json", "http://lab.test:8080/c.json"):
        assert check_place(url, LISTED).url == url


def test_files_of_a_catalog() -> None:
    web, plain, file = (
        Place(url="https://x/a/catalog.json"),
        Place(url="http://127.0.0.1/c"),
        Place(path=Path("/srv/c.json")),
    )
    assert resolve_url(web, "b/box.tar.zst", LISTED) == "https://x/a/b/box.tar.zst"
    assert resolve_url(web, "https://other/box", LISTED) == "https://other/box"
    assert resolve_url(plain, "box", LISTED) == "http://127.0.0.1/box"
    assert resolve_url(file, "b/box", LISTED) == Path("/srv/b/box")
    assert resolve_url(file, "https://x/box", LISTED) == "https://x/box"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(url="https://x/c"), "http://127.0.0.1/box"),
        (Place(url="https://x/c"), "//me@x/box"),
        (Place(url="https://x/c"), "file:///etc/shadow"),
        (Place(url="http://127.0.0.1/c"), "http://images.example.com/box"),
        (Place(path=Path("/srv/c")), "/etc/shadow"),
        (Place(path=Path("/srv/c")), "../box"),
        (Place(path=Path("/srv/c")), "a/../../box"),
        (Place(path=Path("/srv/c")), "http://images.example.com/box"),
        (Place(path=Path("/srv/c")), "file:///etc/shadow"),
        (Place(), "box"),
    ],
    ids=str,
)
def test_catalogs_that_lead_astray(place: Place, text: str) -> None:
    with pytest.raises(ImageError, match="leads to") as caught:
        resolve_url(place, text, LISTED)
    assert caught.value.message.isprintable()


def test_redirects_never_leave_tls() -> None:
    assert check_redirect("https://x/a", "https://cdn/b", LISTED) == "https://cdn/b"
    assert check_redirect("http://127.0.0.1/a", "/b", LISTED) == "http://127.0.0.1/b"
    for origin, target in (
        ("https://x/a", "http://127.0.0.1/b"),
        ("http://127.0.0.1/a", "http://y/b"),
    ):
        with pytest.raises(ImageError, match="has no TLS"):
            check_redirect(origin, target, LISTED)
