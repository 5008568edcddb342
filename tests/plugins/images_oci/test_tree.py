"""Merging layers, against a model that is plain: what older layers have goes first, then the layer is laid over it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from banger.errors import ImageError
from banger_images_oci.tree import ENTRY_LIMIT, Node, Tree

Path = tuple[bytes, ...]
NAMES = st.sampled_from([b"a", b"b", b"c"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(tuple)
ENTRIES = st.lists(
    st.tuples(st.sampled_from(["f", "d", "link", "whiteout", "opaque"]), PATHS, PATHS), max_size=8
)


def apply(tree: Tree, layer: list[Any], number: int) -> None:
    tree.begin_layer()
    for count, (kind, path, other) in enumerate(layer):
        if kind == "whiteout":
            tree.whiteout(list(path[:-1]), path[-1])
        elif kind == "opaque":
            tree.opaque(list(path))
        elif kind == "link":
            tree.link(list(path), list(other))
        else:
            tree.put(list(path), Node(kind, 0o700, mtime=number * 100 + count))
    tree.end_layer()


def model(state: dict[Path, Any], layer: list[Any], number: int) -> dict[Path, Any]:
    links = [(path, state.get(other)) for kind, path, other in layer if kind == "link"]
    assert all(found is None or found[0] == "f" for _, found in links)
    lower = dict(state)
    for kind, path, _ in layer:
        if kind in ("whiteout", "opaque"):
            inner = len(path) + (kind == "opaque")
            lower = {at: what for at, what in lower.items() if at[: len(path)] != path or len(at) < inner}
    for count, (kind, path, _) in enumerate(layer):
        if kind in ("f", "d"):
            for length in range(1, len(path)):
                lower.setdefault(path[:length], ("d", 0o755, 0))
            if kind == "f" or lower.get(path, ("f",))[0] == "f":
                lower = {at: what for at, what in lower.items() if at[: len(path)] != path}
            lower[path] = (kind, 0o700, number * 100 + count)
    return lower


def shape(tree: Tree) -> dict[Path, Any]:
    return {path: (node.kind, node.mode, node.mtime) for path, node in tree.walk()}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["f", "d", "whiteout", "opaque"]), PATHS, PATHS), max_size=8),
        max_size=4,
    )
)
def test_layers_merge_as_the_specification_has_it(layers: list[list[Any]]) -> None:
    tree, state = Tree(), {}
    for number, layer in enumerate(layers, start=1):
        with contextlib.suppress(ImageError):  # it writes through a file
            apply(tree, layer, number)
            state = model(state, layer, number)
            assert shape(tree) == state
            continue
        return


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ENTRIES, max_size=4))
def test_no_sequence_breaks_the_tree(layers: list[list[Any]]) -> None:
    tree = Tree()
    for number, layer in enumerate(layers, start=1):
        try:
            apply(tree, layer, number)
        except ImageError:
            return
        seen = dict(tree.walk())
        for path in seen:
            assert path[:-1] == () or seen[path[:-1]].kind == "d"
        for _, node in ((), tree.root), *seen.items():
            assert node.children.keys() == node.born.keys()


def test_a_link_of_a_layer_survives_the_whiteout_of_what_was_there() -> None:
    tree = Tree()
    apply(tree, [("f", (b"a",), ()), ("f", (b"b",), ())], 1)
    apply(tree, [("link", (b"b",), (b"a",)), ("whiteout", (b"b",), ()), ("whiteout", (b"a",), ())], 2)
    assert list(shape(tree)) == [(b"b",)]


def test_a_deleted_file_becomes_a_directory_that_is_only_implied() -> None:
    tree = Tree()
    apply(tree, [("f", (b"a",), ())], 1)
    apply(tree, [("whiteout", (b"a",), ()), ("f", (b"a", b"b"), ())], 2)
    assert [kind for kind, _, _ in shape(tree).values()] == ["d", "f"]


def test_whiteouts_are_counted_and_nested_ones_cost_no_more() -> None:
    tree = Tree()
    deep = [b"d"] * 1400
    tree.begin_layer()
    tree.put([*deep, b"x"], Node("f"))
    tree.end_layer()
    tree.begin_layer()
    for depth in range(1400):
        tree.opaque(deep[:depth])
    tree.end_layer()
    assert shape(tree) == {}
    with pytest.raises(ImageError, match="entries"):
        for _ in range(ENTRY_LIMIT):
            tree.whiteout([b"d"], b"x")
