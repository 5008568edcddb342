from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger.errors import UsageError
from banger.model.name import check_ref_name, check_vm_name, make_vm_name, suggest, unknown_hint


@pytest.mark.parametrize("name", ["a", "7", "brisk-otter", "a" * 63, "0-0"])
def test_names_a_host_can_have_are_taken(name: str) -> None:
    assert check_vm_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a",
        "a-",
        "A",
        "a_b",
        "a.b",
        "a b",
        "ä",
        "a" * 64,
        "a\n",
        "../etc",
        "a/b",
        "a,b",
        "$(id)",
        "a\0",
        "\x1b[2J",
    ],
)
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(UsageError, match="is not a VM name") as caught:
        check_vm_name(name)
    assert "1 to 63" in (caught.value.hint or "")


def test_overlong_name_is_cut_in_the_message() -> None:
    with pytest.raises(UsageError) as caught:
        check_vm_name("x" * 100_000)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("name", ["debian-bookworm", "a", "v1.2_3", "A" * 127])
def test_image_names(name: str) -> None:
    assert check_ref_name(name, "an image") == name


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "a:b", "a b", "A" * 128, "a\n"])
def test_other_image_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not a name for an image"):
        check_ref_name(name, "an image")


@given(st.sets(st.integers(0, 50)))
def test_made_up_name_is_a_free_vm_name(salt: set[int]) -> None:
    taken = {make_vm_name(()) for _ in salt}
    name = make_vm_name(taken)
    assert check_vm_name(name) == name and name not in taken


def test_made_up_name_is_free_even_when_every_pleasant_one_is_taken() -> None:
    from banger.model import name as module

    words = {f"{first}-{second}" for first in module._FIRST for second in module._SECOND}
    assert make_vm_name(words).startswith("vm-")


def test_suggestion_is_the_closest_name_or_none() -> None:
    assert suggest("boowkorm", ["bookworm", "trixie"]) == "bookworm"
    assert suggest("xyz", ["bookworm", "trixie"]) is None


def test_hint_suggests_else_lists_a_few_else_says_where_to_look() -> None:
    assert unknown_hint("trixy", ["trixie"], "see: list") == "did you mean 'trixie'?"
    assert unknown_hint("zzz", ["b", "a"], "see: list") == "there is: a, b"
    assert unknown_hint("zzz", [f"name{n}" for n in range(9)], "see: list") == "see: list"
    assert unknown_hint("zzz", [], "see: list") == "see: list"
