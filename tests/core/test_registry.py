from __future__ import annotations

from dataclasses import dataclass

import pytest

from banger.errors import NotFoundError, PluginError
from banger.registry import Registry


@dataclass(frozen=True)
class Thing:
    name: str
    note: str = ""


def test_values_come_by_name_whatever_order_they_were_added_in() -> None:
    registry: Registry[Thing] = Registry("thing")
    for name in ("melon", "apple", "zebra", "kiwi"):
        registry.add(Thing(name), "p")
    assert list(registry) == ["apple", "kiwi", "melon", "zebra"]
    assert [owned.value.name for owned in registry.owned()] == list(registry)


def test_duplicate_name_is_refused_and_names_both_plugins() -> None:
    registry: Registry[Thing] = Registry("network")
    registry.add(Thing("user", "first"), "net-user")
    with pytest.raises(PluginError, match="network 'user'.*'net-user'.*'other'") as caught:
        registry.add(Thing("user", "second"), "other")
    assert caught.value.hint and "other" in caught.value.hint
    assert caught.value.plugin == "other"
    assert registry["user"].note == "first"


def test_unknown_name_is_refused_with_a_suggestion() -> None:
    registry: Registry[Thing] = Registry("capability")
    registry.add(Thing("workdisk"), "workdisk")
    with pytest.raises(NotFoundError, match="there is no capability 'workdsk'") as caught:
        registry.resolve("workdsk")
    assert caught.value.hint == "did you mean 'workdisk'?"


def test_overlong_name_is_cut_in_the_message() -> None:
    with pytest.raises(NotFoundError) as caught:
        Registry("thing").resolve("x" * 10_000)
    assert len(caught.value.message) < 200


def test_owner_is_remembered_and_discard_takes_all_of_one_owner() -> None:
    registry: Registry[Thing] = Registry("thing")
    registry.add(Thing("a"), "one")
    registry.add(Thing("b"), "two")
    registry.add(Thing("c"), "one")
    assert registry.owner("b") == "two"
    registry.discard("one")
    assert list(registry) == ["b"] and len(registry) == 1
