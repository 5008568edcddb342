from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pluggy
import pytest

from banger.errors import ConfigError, PluginError
from banger.hookspecs import hookimpl
from banger.model.check import Check, CheckResult, CheckStatus
from banger.plugins import FoundPlugin, Plugins, find_plugins
from banger.testing.plugin_sets import found_plugin, load_chosen, make_plugin
from banger.testing.samples import sample_vm


def passing(name: str) -> Check:
    return Check(name, lambda _: CheckResult(CheckStatus.PASS, "fine"))


def checks_plugin(name: str, *checks: str, **members: object) -> ModuleType:
    def banger_register_checks() -> list[Check]:
        return [passing(check) for check in checks]

    return make_plugin(name, banger_register_checks, **members)


def load(
    *modules: ModuleType, importer: Callable[[str], ModuleType] | None = None, **options: Any
) -> Plugins:
    plugins = Plugins()
    table = {module.__name__: module for module in modules}
    plugins.load(map(found_plugin, modules), importer=importer or table.__getitem__, **options)
    return plugins


def broken(error: BaseException) -> Callable[[str], ModuleType]:
    def importer(name: str) -> ModuleType:
        if name == "banger_bad":
            raise error
        return checks_plugin("good", "fine")

    return importer


@pytest.fixture
def good() -> ModuleType:
    return checks_plugin("good", "fine")


def assert_only_bad_is_out(plugins: Plugins, reason: str) -> None:
    """The bad plugin is reported, and the good one works as if it were alone."""
    assert list(plugins.failed) == ["bad"]
    assert reason in plugins.failed["bad"].reason
    assert list(plugins.loaded) == ["good"]
    assert [(owner, check.name) for owner, check in plugins.declared("checks")] == [("good", "fine")]


@pytest.mark.parametrize(
    "error", [ImportError("no module named libfoo"), SyntaxError("bad"), RuntimeError("boom"), SystemExit(3)]
)
def test_plugin_that_cannot_be_imported_is_reported_and_the_others_work(error: BaseException) -> None:
    plugins = load(ModuleType("banger_bad"), ModuleType("banger_good"), importer=broken(error))
    assert_only_bad_is_out(plugins, type(error).__name__)
    assert "Traceback" in plugins.failed["bad"].trace


def test_misspelt_hook_is_reported_and_what_the_plugin_registered_is_rolled_back(good: ModuleType) -> None:
    def banger_register_checks() -> list[Check]:
        return [passing("half-registered")]

    def banger_register_chekcs() -> list[Check]:
        return []

    bad = make_plugin("bad", banger_register_checks, banger_register_chekcs)
    assert_only_bad_is_out(load(bad, good), "banger_register_chekcs")


def test_hook_with_an_argument_that_does_not_exist_is_reported(good: ModuleType) -> None:
    def banger_vm_started(vm: object, database: object) -> None: ...

    assert_only_bad_is_out(load(make_plugin("bad", banger_vm_started), good), "database")


def test_default_argument_is_refused_because_it_would_never_be_passed(good: ModuleType) -> None:
    def banger_vm_started(vm: object = None) -> None: ...

    assert_only_bad_is_out(load(make_plugin("bad", banger_vm_started), good), "default argument")


def test_async_hook_is_refused(good: ModuleType) -> None:
    async def banger_register_checks() -> list[Check]:
        return []

    assert_only_bad_is_out(load(make_plugin("bad", banger_register_checks), good), "async")


@pytest.mark.parametrize("option", ["tryfirst", "trylast", "wrapper", "hookwrapper"])
def test_priorities_and_wrappers_are_refused(option: str, good: ModuleType) -> None:
    def plain() -> list[Check]:
        return []

    def generator() -> Any:
        yield

    bad = ModuleType("banger_bad")
    function = generator if "wrapper" in option else plain
    bad.banger_register_checks = hookimpl(**{option: True})(function)  # type: ignore[attr-defined]
    assert_only_bad_is_out(load(bad, good), "not used by banger")


def test_second_plugin_of_a_name_is_reported_with_its_distribution() -> None:
    first, second = checks_plugin("same", "one"), checks_plugin("same", "two")
    modules = {"a": first, "b": second}
    found = [FoundPlugin("same", "a", "dist-a", "1"), FoundPlugin("same", "b", "dist-b", "1")]
    plugins = Plugins()
    plugins.load(found, importer=modules.__getitem__)
    assert plugins.loaded["same"].module is first
    assert "same (dist-b)" in plugins.failed
    assert plugins.failed["same (dist-b)"].hint == "pip uninstall dist-b"


def test_disabled_plugin_is_not_even_imported(good: ModuleType) -> None:
    def importer(name: str) -> ModuleType:
        assert name != "banger_bad", "a disabled plugin was imported"
        return good

    plugins = load(ModuleType("banger_bad"), good, importer=importer, disabled=["bad"])
    assert list(plugins.disabled) == ["bad"] and not plugins.failed


def test_unknown_name_in_disabled_is_a_configuration_error_with_a_suggestion(good: ModuleType) -> None:
    with pytest.raises(ConfigError, match="'goood'") as caught:
        load(good, disabled=["goood"])
    assert caught.value.hint == "did you mean 'good'?"


def test_core_cannot_be_disabled() -> None:
    with pytest.raises(ConfigError, match="cannot be disabled"):
        load_chosen(disabled=["core"])


def test_third_parties_can_be_left_out_without_importing_them() -> None:
    def importer(name: str) -> ModuleType:
        raise AssertionError("imported")

    plugins = load(ModuleType("banger_bad"), importer=importer, third_parties=False)
    assert list(plugins.disabled) == ["bad"]


def test_plugin_whose_requirement_is_missing_is_left_out_and_so_is_what_requires_it() -> None:
    needy = checks_plugin("needy", "n", REQUIRES=("absent",))
    chained = checks_plugin("achained", "c", REQUIRES=("needy",))
    free = checks_plugin("free", "f")
    plugins = load(chained, free, needy)
    assert list(plugins.loaded) == ["free"]
    assert "'absent'" in plugins.failed["needy"].reason
    assert "'needy'" in plugins.failed["achained"].reason


def test_requirement_that_is_there_is_met_whatever_order_they_load_in() -> None:
    assert set(load(checks_plugin("a", REQUIRES=("b",)), checks_plugin("b")).loaded) == {"a", "b"}


def test_strict_mode_raises_what_is_only_reported_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANGER_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="'bad'.*boom"):
        load(ModuleType("banger_bad"), importer=broken(RuntimeError("boom")))


@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(1)])
def test_plugin_whose_hook_raises_is_taken_out_whole(error: BaseException, good: ModuleType) -> None:
    def banger_register_checks() -> list[Check]:
        raise error

    def banger_register_auth_syncs() -> list[object]:
        return ["something"]

    plugins = load(make_plugin("bad", banger_register_checks, banger_register_auth_syncs), good)
    assert set(plugins.loaded) == {"bad", "good"}
    assert [owner for owner, _ in plugins.declared("checks")] == ["good"]
    assert "banger_register_checks" in plugins.failed["bad"].reason
    assert plugins.declared("auth_syncs") == []


def test_hook_that_returns_no_list_takes_its_plugin_out(good: ModuleType) -> None:
    def banger_register_checks() -> Check:
        return passing("alone")

    assert [o for o, _ in load(make_plugin("bad", banger_register_checks), good).declared("checks")] == [
        "good"
    ]


def test_declared_values_carry_the_plugin_they_come_from() -> None:
    quiet = make_plugin("quiet", lambda: None)
    plugins = load(checks_plugin("zeta", "z1", "z2"), quiet, checks_plugin("alpha", "a1"))
    pairs = [(owner, check.name) for owner, check in plugins.declared("checks")]
    assert pairs == [("alpha", "a1"), ("zeta", "z1"), ("zeta", "z2")]


def test_hook_that_returns_none_shifts_nobody_elses_values() -> None:
    def banger_register_checks() -> None:
        return None

    plugins = load(
        checks_plugin("alpha", "a"), make_plugin("beta", banger_register_checks), checks_plugin("gamma", "g")
    )
    assert [(owner, check.name) for owner, check in plugins.declared("checks")] == [
        ("alpha", "a"),
        ("gamma", "g"),
    ]


def test_failing_event_is_logged_with_its_plugin_and_the_others_still_run() -> None:
    seen: list[str] = []

    def plugin(name: str, error: BaseException | None = None) -> ModuleType:
        def banger_vm_started(vm: Any) -> None:
            seen.append(f"{name} {vm.name}")
            if error is not None:
                raise error

        return make_plugin(name, banger_vm_started)

    logged: list[tuple[str, str]] = []
    plugins = load(
        plugin("a"), plugin("b", RuntimeError("boom")), plugin("c", SystemExit("out")), plugin("d")
    )
    plugins.emit("vm_started", sample_vm("otter"), lambda name, error: logged.append((name, str(error))))
    assert seen == ["a otter", "b otter", "c otter", "d otter"]
    assert logged == [("b", "boom"), ("c", "out")]
    assert not plugins.failed


def test_event_hook_may_take_fewer_arguments() -> None:
    seen: list[str] = []

    def banger_vm_start_failed(error: str) -> None:
        seen.append(error)

    load(make_plugin("a", banger_vm_start_failed)).emit(
        "vm_start_failed", sample_vm(), lambda *_: None, error="no memory"
    )
    assert seen == ["no memory"]


def test_every_builtin_plugin_is_found_and_loads() -> None:
    found = find_plugins()
    assert {"core", "net-user", "vmm-qemu", "workdisk"} <= {plugin.name for plugin in found if plugin.builtin}
    assert load_chosen().failed == {}


def test_finding_plugins_imports_none() -> None:
    code = (
        "import sys; from banger.plugins import find_plugins; assert find_plugins();"
        "print([name for name in sys.modules if name.startswith('banger_')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_hint_for_a_failed_builtin_disables_it_and_for_another_uninstalls_it() -> None:
    plugins = Plugins()
    plugins.fail(FoundPlugin("ours", "m", "banger", "1"), "x")
    plugins.fail(FoundPlugin("theirs", "m", "banger-plugin-theirs", "1"), "x")
    assert 'disabled = ["ours"]' in plugins.failed["ours"].hint
    assert plugins.failed["theirs"].hint == "pip uninstall banger-plugin-theirs"


def test_no_hook_of_ours_is_firstresult_or_historic() -> None:
    manager = pluggy.PluginManager("banger")
    from banger import hookspecs

    manager.add_hookspecs(hookspecs)
    names = [name for name in dir(hookspecs) if name.startswith("banger_")]
    assert len(names) >= 16
    for name in names:
        options = getattr(manager.hook, name).spec.opts
        assert not options["firstresult"] and not options["historic"], name
