from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from banger.daemon.services import Registries, fill_registries
from banger.model.auth import AuthSync
from banger.model.capability import Capability
from banger.model.check import Check, CheckResult, CheckStatus
from banger.model.command import Command, Operation
from banger.model.source import ImageSource, KernelSource
from banger.plugins import Plugins
from banger.start.step import StartStep
from banger.testing.plugin_sets import load_chosen, make_plugin
from tests.core.daemon.paper_lab import make_network, make_vmm


def no_work(_: Any) -> Any: ...


class Empty(BaseModel):
    pass


def steps_plugin(name: str, *steps: StartStep, **members: object) -> ModuleType:
    def banger_register_start_steps() -> list[StartStep]:
        return list(steps)

    return make_plugin(name, banger_register_start_steps, **members)


def fill(*modules: ModuleType, builtin: tuple[str, ...] = ("core",)) -> tuple[Plugins, Registries]:
    plugins = load_chosen(modules, builtin=builtin)
    return plugins, fill_registries(plugins)


def names(registries: Registries) -> list[str]:
    return [owned.value.name for owned in registries.plan({})]


def test_third_party_that_takes_a_builtins_name_is_out_and_the_builtin_stays() -> None:
    plugins, registries = fill(steps_plugin("aaa", StartStep("boot", no_work), StartStep("aaa", no_work)))
    assert list(plugins.failed) == ["aaa"]
    assert "'core'" in plugins.failed["aaa"].reason and "'aaa'" in plugins.failed["aaa"].reason
    assert registries.steps.owner("boot") == "core"
    assert "aaa" not in registries.steps, "what it had registered before is gone too"


def test_of_two_third_parties_with_one_name_the_first_by_name_stays() -> None:
    plugins, registries = fill(
        *(steps_plugin(name, StartStep("same", no_work)) for name in ("zeta", "alpha"))
    )
    assert registries.steps.owner("same") == "alpha"
    assert list(plugins.failed) == ["zeta"]


def test_plugin_whose_step_cannot_be_ordered_is_out_and_innocent_ones_stay() -> None:
    plugins, registries = fill(
        steps_plugin("aaa", StartStep("bad", no_work, after=("no-such-milestone",))),
        steps_plugin("mmm", StartStep("loop", no_work, after=("booted",), before=("preflight",))),
        steps_plugin("zzz", StartStep("good", no_work, after=("guest-ready",))),
    )
    assert set(plugins.failed) == {"aaa", "mmm"}
    assert "no-such-milestone" in plugins.failed["aaa"].reason
    assert "wait for each other" in plugins.failed["mmm"].reason
    assert names(registries) == ["check-host", "root-disk", "network", "boot", "guest", "lend", "good"]


def test_two_plugins_may_order_their_steps_by_each_others() -> None:
    plugins, registries = fill(
        steps_plugin("aaa", StartStep("first", no_work, after=("second",))),
        steps_plugin("zzz", StartStep("second", no_work)),
    )
    assert not plugins.failed
    ordered = names(registries)
    assert ordered.index("second") < ordered.index("first")


def test_plugin_that_orders_by_a_step_of_a_failed_one_is_out_as_well() -> None:
    plugins, registries = fill(
        steps_plugin("aaa", StartStep("bad", no_work, after=("no-such-milestone",))),
        steps_plugin("bbb", StartStep("after-bad", no_work, after=("bad",))),
        steps_plugin("ccc", StartStep("good", no_work, after_if_present=("bad",))),
    )
    assert set(plugins.failed) == {"aaa", "bbb"}
    assert "good" in names(registries)


def test_what_requires_a_plugin_whose_hook_fails_is_out_as_well() -> None:
    def banger_register_start_steps() -> list[StartStep]:
        raise RuntimeError("boom")

    plugins, registries = fill(
        make_plugin("base", banger_register_start_steps),
        steps_plugin("needs", StartStep("needy", no_work), REQUIRES=("base",)),
    )
    assert set(plugins.failed) == {"base", "needs"}
    assert "'base'" in plugins.failed["needs"].reason
    assert "needy" not in registries.steps


class NoModel:
    pass


class Unspeakable(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    thing: NoModel


def operation(**changes: Any) -> Operation:
    values: dict[str, Any] = {"params": Empty, "result": Empty, "run": no_work, **changes}
    return Operation("x.y", "", **values)


def check() -> Check:
    return Check("x", lambda _: CheckResult(CheckStatus.PASS, ""))


def wrong(value: Any) -> Any:
    """Return a value as if it fitted: plugins are not type-checked."""
    return value


@pytest.mark.parametrize(
    ("noun", "value", "reason"),
    [
        ("checks", "a string", " is of type str, not Check"),
        ("start_steps", check(), "Check 'x' is of type Check, not StartStep"),
        ("start_steps", None, "NoneType is None, not StartStep"),
        ("start_steps", wrong(StartStep)("x", None), "StartStep 'x': run is None, not a function"),
        (
            "start_steps",
            StartStep("x", no_work, after=wrong("booted")),
            "StartStep 'x': after is of type str, not a tuple",
        ),
        (
            "start_steps",
            StartStep("x", no_work, after=wrong((7,))),
            "StartStep 'x': after, one of them is of type int, not str",
        ),
        ("start_steps", StartStep("x", no_work, undo=wrong(7)), "StartStep 'x': undo is of type int"),
        ("start_steps", StartStep(wrong(b"x"), no_work), "StartStep: name is of type bytes, not str"),
        ("start_steps", StartStep("", no_work), "StartStep '' has no name"),
        (
            "capabilities",
            Capability("x", "", steps=wrong(StartStep("y", no_work))),
            "Capability 'x': steps is of type StartStep, not a tuple",
        ),
        (
            "capabilities",
            Capability("x", "", steps=(StartStep("y", wrong("z")),)),
            "Capability 'x': steps, one of them: run is of type str, not a function",
        ),
        ("commands", Command("x", wrong(b"help"), "m:o"), "Command 'x': help is of type bytes, not str"),
        (
            "operations",
            operation(result=NoModel),
            "Operation 'x.y': result is the class NoModel, not a subclass of BaseModel",
        ),
        ("operations", operation(result=Unspeakable), "Operation 'x.y' has no JSON schema: "),
        ("operations", operation(params=Empty()), "Operation 'x.y': params is of type Empty, not a subclass"),
        ("vmms", make_vmm("x", guest_modules=None), "Vmm 'x': guest_modules is None, not a tuple"),
        (
            "vmms",
            make_vmm("x", attachments=wrong({"tap"})),
            "Vmm 'x': features: attachments is of type set, not a frozenset",
        ),
        ("networks", make_network("x", gives=wrong("egress")), "NetworkMode 'x': gives is of type str"),
        (
            "image_sources",
            ImageSource("x", "", wrong("x"), wrong(no_work)),
            "ImageSource 'x': default_name is of type str, not a function",
        ),
        (
            "kernel_sources",
            KernelSource("x", "", str, wrong(no_work), known=wrong("abc")),
            "KernelSource 'x': known is of type str, not a tuple",
        ),
        ("auth_syncs", AuthSync("x", "~/x", wrong(None)), "AuthSync 'x': guest_path is None, not str"),
    ],
)
def test_value_that_is_not_what_it_should_be_takes_its_plugin_out(noun: str, value: Any, reason: str) -> None:
    def hook() -> list[Any]:
        return [value]

    hook.__name__ = f"banger_register_{noun}"
    plugins, registries = fill(make_plugin("bad", hook), steps_plugin("good", StartStep("good", no_work)))
    assert list(plugins.failed) == ["bad"]
    assert plugins.failed["bad"].reason.startswith(f"banger_register_{noun}: ")
    assert reason in plugins.failed["bad"].reason
    assert "good" in names(registries)


def test_everything_built_in_is_what_it_should_be() -> None:
    plugins = load_chosen()
    fill_registries(plugins)
    assert not plugins.failed


def test_steps_of_capabilities_that_are_off_are_known_for_teardown() -> None:
    def banger_register_capabilities() -> list[Capability]:
        return [Capability("extra", "", steps=(StartStep("extra-step", no_work),))]

    _, registries = fill(make_plugin("extra", banger_register_capabilities))
    assert "extra-step" not in names(registries)
    assert registries.all_steps()["extra-step"].plugin == "extra"
    assert "extra-step" in [owned.value.name for owned in registries.plan({"extra": {}})]


def test_capability_whose_step_takes_a_builtins_name_is_out_with_its_plugin() -> None:
    def banger_register_capabilities() -> list[Capability]:
        return [Capability("extra", "", steps=(StartStep("boot", no_work),))]

    plugins, registries = fill(make_plugin("extra", banger_register_capabilities))
    assert list(plugins.failed) == ["extra"]
    assert registries.all_steps()["boot"].plugin == "core"
    assert "extra" not in registries.capabilities


def test_every_declare_hook_fills_a_table() -> None:
    from banger import hookspecs

    nouns = {
        name.removeprefix("banger_register_")
        for name in dir(hookspecs)
        if name.startswith("banger_register_")
    }
    assert set(Registries().by_noun()) == nouns - {"settings"}
