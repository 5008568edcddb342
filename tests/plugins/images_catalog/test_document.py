"""Catalogs as anybody may write them: what is right is read, everything else is one clear line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banger.errors import ImageError
from banger_images_catalog.document import DOCUMENT_LIMIT, ENTRY_LIMIT, Document, parse_document
from tests.plugins.images_catalog.catalog_lab import catalog, entry

GOOD = entry(b"bundle")
RECIPE = {"name": "box", "recipe": "debian:bookworm"}


def changed(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}


def test_what_is_unknown_is_left_alone() -> None:
    document = parse_document(catalog({**GOOD, "colour": "blue"}, more=1), "x")
    assert [image.name for image in document.images] == ["box"]
    assert parse_document(b'{"version": 1}', "x") == Document(version=1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no JSON"),
        (b"[]", "is no JSON object"),
        (b"\xff\xfe{}", "is no JSON"),
        (b'{"version": 1', "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"version": ' + b"1" * 10_000 + b"}", "is no JSON"),
        (b" " * (DOCUMENT_LIMIT + 1), "longer than 4 MiB"),
        (b"{}", "of version None"),
        (b'{"version": 2, "images": 5}', "of version 2, known is 1"),
        (b'{"version": true}', "of version True"),
        (b'{"version": "1"}', "of version"),
        (catalog(*[RECIPE] * (ENTRY_LIMIT + 1)), "images"),
        (catalog(RECIPE, RECIPE), "'box' is in it twice"),
        (b'{"version": 1, "images": {"a": 1}}', "images"),
        (b'{"version": 1, "images": [1]}', "images.0"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_documents_that_are_none(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        parse_document(data, "https://x/catalog.json")
    assert len(caught.value.message) < 400 and caught.value.message.isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../../etc/passwd"},
        {"name": "a/b"},
        {"name": ".."},
        {"name": "a\n"},
        {"name": "a\0b"},
        {"name": ""},
        {"name": "x" * 128},
        {"name": 7},
        {"arch": "../x"},
        {"arch": ""},
        {"distro": "a b\x1b[2J"},
        {"description": "\x1b]0;owned\x07"},
        {"description": "\ud800"},
        {"kernel_ref": "../x y"},
        {"sha256": "A" * 64},
        {"sha256": "0" * 63},
        {"sha256": "../" + "0" * 61},
        {"sha256": ...},
        {"size": 0},
        {"size": -1},
        {"size": 1 << 60},
        {"size": "12"},
        {"size": 1.5},
        {"size": True},
        {"size": ...},
        {"url": ""},
        {"url": ...},
        {"url": "x" * 3000},
        {"recipe": "debian:bookworm"},
    ],
    ids=str,
)
def test_entries_that_are_none(changes: dict[str, Any]) -> None:
    data = json.dumps({"version": 1, "images": [changed(**changes)]}).encode()
    with pytest.raises(ImageError, match="the catalog x is wrong: images.0") as caught:
        parse_document(data, "x")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "recipe",
    [
        "oci:docker.io/library/alpine:3.20",
        "oci-archive:/etc/shadow",
        "docker-archive:/tmp/x.tar",
        "catalog:other",
        "debian:../x",
        "oci:a b@sha256:" + "0" * 64,
        "debian:bookworm\n",
        "sh:rm",
    ],
)
def test_recipes_that_are_not_the_same_for_everybody(recipe: str) -> None:
    with pytest.raises(ImageError, match="is wrong: images.0"):
        parse_document(catalog({"name": "box", "recipe": recipe}), "x")


def test_recipe_by_digest() -> None:
    recipe = f"oci:docker.io/library/alpine@sha256:{'0' * 64}"
    assert parse_document(catalog({"name": "box", "recipe": recipe}), "x").images[0].recipe == recipe


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_ENTRIES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            key: _JSON | st.just(value)
            for key, value in {**GOOD, "recipe": "debian:x", "kernel_ref": "k", "release": "6"}.items()
        },
    ),
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200)
    | _JSON.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({"version": st.just(1)}, optional={"images": _ENTRIES, "kernels": _ENTRIES}).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_whatever_comes_is_a_catalog_or_one_line(data: bytes) -> None:
    try:
        document = parse_document(data, "x")
    except ImageError as error:
        line = error.message
    else:
        line = " ".join(image.name + (image.recipe or str(image.url)) for image in document.images)
        assert all("/" not in image.name and image.name not in (".", "..") for image in document.images)
        assert all(image.is_bundle == (image.recipe is None) for image in document.images)
    assert "\n" not in line
