"""The kit that third parties get: it must notice what it is there to notice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banger.errors import NotFoundError
from banger.start.step import StartStep
from banger.testing.plugin_sets import make_plugin
from banger.testing.pytest_plugin import BangerDirs, FakeHost, MakeApp, PlanFor, RunCli
from banger.testing.recorder import HookRecorder
from banger.testing.start import FakeStart
from banger.testing.step_contract import StartStepContract

Work = Callable[[Any], None]


def file_of(ctx: Any) -> Path:
    return ctx.paths.sockets / "held"


def take(ctx: Any) -> None:
    ctx.record("path", str(file_of(ctx)))
    file_of(ctx).write_text("")
    ctx.progress("held")


def drop(ctx: Any) -> None:
    file_of(ctx).unlink(missing_ok=True)


def contract(run: Work = take, undo: Work | None = drop, remove: Work | None = None) -> Any:
    """Return the contract's tests on a step that holds one file."""

    class Contract(StartStepContract):
        def run_resources(self, start: FakeStart) -> list[str]:
            return [] if remove else [path.name for path in start.paths.sockets.iterdir()]

        def vm_resources(self, start: FakeStart) -> list[str]:
            return [path.name for path in start.paths.sockets.iterdir()] if remove else []

    return Contract(), StartStep("held", run, undo=undo, remove=remove)


def failures(tmp_path: Path, pair: tuple[Any, StartStep]) -> set[str]:
    """Run every test of the contract; return the names of those that fail."""
    tests, step = pair
    failed = set()
    for name in dir(tests):
        if not name.startswith("test_"):
            continue

        def make(start: str = "one", fail_at: int = 0, *, test: str = name) -> FakeStart:
            return FakeStart(tmp_path / test / start, fail_at=fail_at)

        try:
            getattr(tests, name)(step, make)
        except Exception:
            failed.add(name)
    return failed


def test_good_step_holds_the_contract(tmp_path: Path) -> None:
    assert failures(tmp_path, contract()) == set()


def test_good_step_with_a_vm_resource_holds_the_contract(tmp_path: Path) -> None:
    assert failures(tmp_path, contract(undo=None, remove=drop)) == set()


def test_step_that_does_nothing_breaks_it(tmp_path: Path) -> None:
    assert "test_run_acquires_what_is_declared" in failures(tmp_path, contract(run=lambda ctx: None))


def test_undo_that_is_missing_or_does_nothing_breaks_it(tmp_path: Path) -> None:
    broken = failures(tmp_path, contract(undo=lambda ctx: None))
    assert {
        "test_undo_releases_run_resources_and_keeps_the_vms",
        "test_failure_half_way_is_taken_back_wherever_it_happens",
    } <= broken


def test_undo_that_works_once_only_breaks_it(tmp_path: Path) -> None:
    broken = failures(tmp_path, contract(undo=lambda ctx: file_of(ctx).unlink()))
    assert "test_undo_twice_is_as_good_as_once" in broken
    assert "test_undo_of_a_step_that_recorded_nothing_does_no_harm" in broken


def test_undo_that_needs_a_record_that_is_written_too_late_breaks_it(tmp_path: Path) -> None:
    def late(ctx: Any) -> None:
        file_of(ctx).write_text("")
        ctx.progress("held")
        ctx.record("path", str(file_of(ctx)))

    def by_record(ctx: Any) -> None:
        if "path" in ctx.section:
            Path(ctx.section["path"]).unlink(missing_ok=True)

    broken = failures(tmp_path, contract(run=late, undo=by_record))
    assert broken == {"test_failure_half_way_is_taken_back_wherever_it_happens"}
    assert failures(tmp_path / "early", contract(undo=by_record)) == set()


def test_undo_that_works_from_memory_breaks_it(tmp_path: Path) -> None:
    """What the section does not hold is not there in another process."""

    def by_record(ctx: Any) -> None:
        Path(ctx.section["path"]).unlink(missing_ok=True)

    def unrecorded(ctx: Any) -> None:
        file_of(ctx).write_text("")

    assert failures(tmp_path, contract(run=unrecorded, undo=by_record))


def test_remove_that_removes_nothing_breaks_it(tmp_path: Path) -> None:
    broken = failures(tmp_path, contract(undo=None, remove=lambda ctx: None))
    assert "test_remove_twice_leaves_nothing" in broken


# Fixtures


def test_directories_are_the_tests_own_and_have_a_space(banger_dirs: BangerDirs) -> None:
    from banger.config.paths import find_paths

    assert find_paths().state == banger_dirs.state
    assert " " in str(banger_dirs.state) and not banger_dirs.state.exists()


def test_plan_is_ordered_without_running_anything(plan_for: PlanFor) -> None:
    def explode(ctx: Any) -> None:
        raise AssertionError("it ran")

    def banger_register_start_steps() -> list[StartStep]:
        return [StartStep("lease", explode, after=("preflight",), before=("disks-ready",))]

    plugin = make_plugin("lease", banger_register_start_steps)
    ordered = plan_for(plugins=[plugin], builtin=["core"])
    assert ordered.index("check-host") < ordered.index("lease") < ordered.index("network")
    assert "lease (lease)" in plan_for(plugins=[plugin], builtin=["core"], owners=True)


def test_plan_with_a_broken_plugin_fails_the_test(plan_for: PlanFor) -> None:
    def banger_register_start_steps() -> list[StartStep]:
        raise RuntimeError("boom")

    with pytest.raises(AssertionError, match="boom"):
        plan_for(plugins=[make_plugin("bad", banger_register_start_steps)], builtin=["core"])


def test_recorder_sees_every_call_with_plugin_arguments_and_result(
    banger_app: MakeApp, hook_recorder: HookRecorder
) -> None:
    def banger_register_start_steps() -> list[StartStep]:
        return [StartStep("lease", lambda ctx: None)]

    banger_app(make_plugin("lease", banger_register_start_steps), builtin=["core"])
    assert hook_recorder.names("lease") == ["banger_register_start_steps"]
    [call] = [call for call in hook_recorder.of("banger_register_start_steps") if call.plugin == "lease"]
    assert [step.name for step in call.result] == ["lease"] and call.error is None


def test_recorder_sees_what_a_hook_raised(banger_app: MakeApp, hook_recorder: HookRecorder) -> None:
    def banger_register_checks() -> list[Any]:
        raise RuntimeError("boom")

    banger_app(make_plugin("bad", banger_register_checks), builtin=["core"])
    [call] = [call for call in hook_recorder.calls if call.plugin == "bad"]
    assert str(call.error) == "boom"


def test_command_lines_run_against_the_app_and_bugs_are_not_swallowed(
    banger_app: MakeApp, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    banger_app(builtin=["core"])
    result = run_cli("vm", "list", "-q")
    assert (result.status, result.stdout, result.stderr) == (
        0,
        "",
        "no VMs; make one: banger vm run\n",
    ) or result
    monkeypatch.setattr("banger.cli.client.Client.call", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_cli("vm", "list")


def test_app_that_cannot_start_raises_why(banger_app: MakeApp) -> None:
    from banger.errors import ConfigError

    with pytest.raises(ConfigError, match="unknown key nonsense"):
        banger_app(builtin=["core"], config="nonsense = 1")


def test_app_takes_fake_seams(banger_app: MakeApp, fake_host: FakeHost) -> None:
    app = banger_app(builtin=["core"], commands=fake_host.commands, disks=fake_host.disks)
    names = {line["name"]: line["status"] for line in app.call("doctor")["checks"]}
    assert names["disk tools"] == "PASS"
    with pytest.raises(NotFoundError):
        app.call("vm.show", {"vm": "otter"})


def test_kit_works_in_a_strangers_suite_and_does_nothing_unasked(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["banger.testing.pytest_plugin"]\n')
    (tmp_path / "test_mine.py").write_text(
        "import os\n"
        "def test_unasked(): assert os.environ['XDG_STATE_HOME'] == '/mine'\n"
        "def test_plan(plan_for): assert plan_for(builtin=['core'])[0] == 'check-host'\n"
        "def test_cli(banger_app, run_cli):\n"
        "    banger_app(builtin=['core'])\n"
        "    assert run_cli('vm', 'list', '--json').stdout == '[]\\n'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_STATE_HOME": "/mine"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout + done.stderr
