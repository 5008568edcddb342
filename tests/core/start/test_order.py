from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger.errors import PluginError
from banger.registry import Owned
from banger.start.order import order_steps
from banger.start.step import MILESTONES, StartStep


def step(name: str, plugin: str = "p", **declared: tuple[str, ...]) -> Owned[StartStep]:
    return Owned(StartStep(name, lambda ctx: None, **declared), plugin)  # type: ignore[arg-type]


def names(*steps: Owned[StartStep], known: tuple[str, ...] = ()) -> list[str]:
    return [owned.value.name for owned in order_steps(steps, known)]


def test_steps_stand_between_the_milestones_they_name() -> None:
    assert names(
        step("guest", after=("booted",)),
        step("boot", after=("net-ready",), before=("booted",)),
        step("disk", after=("preflight",), before=("disks-ready",)),
        step("net", after=("disks-ready",), before=("net-ready",)),
        step("look", before=("preflight",)),
    ) == ["look", "disk", "net", "boot", "guest"]


def test_steps_that_may_go_together_stand_by_name() -> None:
    between = {"after": ("preflight",), "before": ("disks-ready",)}
    assert names(*(step(name, **between) for name in ("c", "a", "b"))) == ["a", "b", "c"]


def test_step_that_says_nothing_runs_after_preflight_and_before_started() -> None:
    assert names(step("zz", before=("preflight",)), step("a")) == ["zz", "a"]
    last = step("late", after=("guest-ready",), before=("started",))
    assert names(last, step("b", after=("booted",))) == ["b", "late"]


def test_after_another_step() -> None:
    assert names(step("a", after=("b",)), step("b")) == ["b", "a"]
    assert names(step("b"), step("c", before=("a",)), step("a")) == ["b", "c", "a"]


def test_after_if_present_orders_when_the_step_is_there_and_says_nothing_when_it_is_not() -> None:
    first = step("a", after_if_present=("nat",))
    assert names(first, step("nat")) == ["nat", "a"]
    assert names(first, step("z")) == ["a", "z"]


def test_step_of_a_capability_that_is_off_may_be_named() -> None:
    assert names(step("a", after=("work-disk",)), known=("work-disk",)) == ["a"]


def test_unknown_name_is_an_error_with_plugin_and_suggestion() -> None:
    with pytest.raises(PluginError, match="'a' of plugin 'foo' names 'net-redy'") as caught:
        order_steps([step("a", "foo", after=("net-redy",))])
    assert caught.value.hint == "did you mean 'net-ready'?"
    assert caught.value.plugin == "foo"


def test_cycle_is_an_error_with_the_way_round_and_the_plugins() -> None:
    with pytest.raises(PluginError) as caught:
        order_steps(
            [step("a", "one", after=("b",)), step("b", "two", after=("c",)), step("c", "three", after=("a",))]
        )
    assert "one, three, two" in caught.value.message
    way = caught.value.message.partition(": ")[2].partition(" (")[0].split(" -> ")
    assert way[0] == way[-1] and set(way) == {"a", "b", "c"}


def test_step_between_milestones_in_the_wrong_order_is_a_cycle() -> None:
    with pytest.raises(PluginError, match="wait for each other"):
        order_steps([step("a", after=("booted",), before=("preflight",))])


def test_step_that_waits_for_itself_is_a_cycle() -> None:
    with pytest.raises(PluginError, match="wait for each other"):
        order_steps([step("a", after=("a",))])


def test_duplicate_name_is_an_error_that_names_both_plugins() -> None:
    with pytest.raises(PluginError, match="'a'.*'one'.*'two'"):
        order_steps([step("a", "one"), step("a", "two")])


def test_step_cannot_be_called_like_a_milestone() -> None:
    with pytest.raises(PluginError, match="name of a milestone"):
        order_steps([step("booted")])


def test_nothing_to_order() -> None:
    assert order_steps([]) == []


@st.composite
def plans(draw: st.DrawFn) -> list[Owned[StartStep]]:
    """Steps without a cycle: each names milestones in order, and only steps that come before it in the list."""
    made: list[Owned[StartStep]] = []
    for number in range(draw(st.integers(1, 12))):
        begin = draw(st.integers(0, len(MILESTONES) - 2))
        earlier = [
            owned.value.name
            for owned in made
            if owned.value.after and owned.value.after[0] == MILESTONES[begin]
        ]
        others = draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True)) if earlier else []
        made.append(
            step(
                f"{draw(st.sampled_from('abcdef'))}{number}",
                after=(MILESTONES[begin], *others),
                before=(MILESTONES[begin + 1],),
            )
        )
    return made


@given(plans(), st.randoms(use_true_random=False))
def test_order_does_not_depend_on_the_order_of_loading(
    steps: list[Owned[StartStep]], shuffler: random.Random
) -> None:
    shuffled = list(steps)
    shuffler.shuffle(shuffled)
    ordered = names(*steps)
    assert names(*shuffled) == ordered


@given(plans())
def test_every_step_stands_once_and_after_all_it_named(steps: list[Owned[StartStep]]) -> None:
    ordered = names(*steps)
    assert sorted(ordered) == sorted(owned.value.name for owned in steps)
    for owned in steps:
        for other in owned.value.after:
            if other not in MILESTONES:
                assert ordered.index(other) < ordered.index(owned.value.name)
    phases = [MILESTONES.index(o.value.after[0]) for name in ordered for o in steps if o.value.name == name]
    assert phases == sorted(phases)
