from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banger.errors import CancelledError, HostError, PluginError, StoreError
from banger.registry import Owned
from banger.start.context import UndoContext
from banger.start.run import quiesce_steps, remove_steps, run_plan, undo_steps
from banger.start.step import StartStep
from banger.store.handles import Handles, Section
from banger.testing.start import FakeStart, FakeStepContext


class Plan:
    """Steps that write down what happens to them, run by the real pipeline on a start on paper."""

    def __init__(self, directory: Path) -> None:
        self.start = FakeStart(directory)
        self.steps: dict[str, Owned[StartStep]] = {}
        self.log: list[str] = []

    @property
    def handles(self) -> Handles:
        return self.start.handles()

    def add(
        self,
        name: str,
        *,
        fails: BaseException | None = None,
        undo_fails: BaseException | None = None,
        remove: bool = False,
        plugin: str = "p",
    ) -> None:
        def run(ctx: Any) -> None:
            ctx.record("name", name)
            self.log.append(f"run {name}")
            if fails is not None:
                raise fails

        def undo(ctx: UndoContext) -> None:
            self.log.append(f"undo {ctx.section.get('name')}")
            if undo_fails is not None:
                raise undo_fails

        def removing(ctx: UndoContext) -> None:
            self.log.append(f"remove {ctx.section.get('name')}")

        step = StartStep(name, run, undo=undo, remove=removing if remove else None)
        self.steps[name] = Owned(step, plugin)

    def undo_for(self, section: Section) -> UndoContext:
        return self.start.undo_context(section.data)

    def run(
        self, run_id: str = "r1", *, forget: bool = False, handles: Handles | None = None
    ) -> dict[str, float]:
        handles = handles or self.handles
        return run_plan(
            self.steps.values(),
            handles,
            run_id,
            lambda owned, section: FakeStepContext(self.start, handles, section),
            self.undo_for,
            forget=forget,
        )


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path)


def test_steps_run_in_order_and_their_seconds_are_returned(plan: Plan) -> None:
    plan.add("a")
    plan.add("b")
    timings = plan.run()
    assert plan.log == ["run a", "run b"]
    assert list(timings) == ["a", "b"] and all(seconds >= 0 for seconds in timings.values())
    assert [(section.step, section.live) for section in plan.handles.sections] == [("a", True), ("b", True)]


def test_section_is_on_disk_before_the_step_runs(plan: Plan) -> None:
    seen: list[bool] = []

    def run(ctx: Any) -> None:
        found = plan.handles.find("a")
        seen.append(found is not None and found.live and found.plugin == "owner")

    plan.steps["a"] = Owned(StartStep("a", run), "owner")
    plan.run()
    assert seen == [True]


def test_failure_takes_back_the_failing_step_too_in_reverse_order(plan: Plan) -> None:
    plan.add("a")
    plan.add("b")
    plan.add("c", fails=HostError("no"))
    plan.add("d")
    with pytest.raises(HostError):
        plan.run()
    assert plan.log == ["run a", "run b", "run c", "undo c", "undo b", "undo a"]
    assert plan.handles.sections == []


def test_error_names_step_and_plugin(plan: Plan) -> None:
    plan.add("a", fails=HostError("no", hint="do"), plugin="foo")
    with pytest.raises(HostError) as caught:
        plan.run()
    assert (caught.value.step, caught.value.plugin) == ("a", "foo")


def test_bug_in_a_step_keeps_its_type_and_gets_a_note(plan: Plan) -> None:
    plan.add("a", fails=ZeroDivisionError("oops"), plugin="foo")
    with pytest.raises(ZeroDivisionError) as caught:
        plan.run()
    assert "step 'a' of plugin 'foo'" in caught.value.__notes__[0]


def test_all_undos_run_and_their_errors_stand_after_the_original(plan: Plan) -> None:
    plan.add("a", undo_fails=RuntimeError("a stays"))
    plan.add("b", undo_fails=RuntimeError("b stays"))
    plan.add("c", fails=HostError("the original error"))
    with pytest.raises(ExceptionGroup) as caught:
        plan.run()
    assert plan.log[-3:] == ["undo c", "undo b", "undo a"]
    assert str(caught.value).splitlines()[0].startswith("the original error")
    assert [str(error) for error in caught.value.exceptions] == ["the original error", "b stays", "a stays"]
    assert "step 'b'" in caught.value.exceptions[1].__notes__[0]
    assert [(s.step, s.live) for s in plan.handles.sections] == [("a", True), ("b", True)]


def test_what_could_not_be_undone_can_be_undone_later(plan: Plan) -> None:
    plan.add("a", undo_fails=RuntimeError("busy"))
    plan.run()
    assert len(undo_steps(plan.steps, plan.handles, plan.undo_for)) == 1
    plan.add("a")
    assert undo_steps(plan.steps, plan.handles, plan.undo_for) == []
    assert plan.handles.sections == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CancelledError("cancelled")])
def test_interruption_takes_everything_back(plan: Plan, error: BaseException) -> None:
    plan.add("a")
    plan.add("b", fails=error)
    with pytest.raises(type(error)):
        plan.run()
    assert plan.log[-2:] == ["undo b", "undo a"]


def test_undo_twice_calls_nothing_the_second_time(plan: Plan) -> None:
    plan.add("a")
    plan.run()
    assert undo_steps(plan.steps, plan.handles, plan.undo_for) == []
    assert undo_steps(plan.steps, plan.handles, plan.undo_for) == []
    assert plan.log.count("undo a") == 1


def test_undo_works_in_a_fresh_process_from_the_file_alone(plan: Plan, tmp_path: Path) -> None:
    """SIGKILL of the daemon: what it held is released by a process that never ran the start."""
    held = tmp_path / "held by a"

    def run(ctx: Any) -> None:
        ctx.record("path", str(held))
        held.write_text("")

    plan.steps["a"] = Owned(StartStep("a", run, undo=lambda ctx: None), "p")
    plan.run()
    code = f"""
import pathlib
from banger.registry import Owned
from banger.start.run import undo_steps
from banger.start.step import StartStep
from banger.store.handles import Handles
from banger.testing.start import FakeStart
start = FakeStart(pathlib.Path({str(tmp_path)!r}))
step = StartStep("a", lambda ctx: None, undo=lambda ctx: pathlib.Path(ctx.section["path"]).unlink())
handles = start.handles()
print(undo_steps({{"a": Owned(step, "p")}}, handles, lambda section: start.undo_context(section.data)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
    assert not held.exists()
    assert plan.handles.sections == []


def test_vm_resources_stay_when_a_later_start_fails(plan: Plan) -> None:
    plan.add("disk", remove=True)
    plan.run("first", forget=True)
    undo_steps(plan.steps, plan.handles, plan.undo_for)
    assert [(s.step, s.live, s.made_by) for s in plan.handles.sections] == [("disk", False, "first")]
    plan.add("boot", fails=HostError("no"))
    with pytest.raises(HostError):
        plan.run("second")
    assert "remove disk" not in plan.log
    assert [section.step for section in plan.handles.sections] == ["disk"]


def test_failed_create_removes_only_what_this_start_made(plan: Plan) -> None:
    plan.add("old", remove=True)
    plan.run("first")
    undo_steps(plan.steps, plan.handles, plan.undo_for)
    plan.add("new", remove=True)
    plan.add("boot", fails=HostError("no"))
    with pytest.raises(HostError):
        plan.run("second", forget=True)
    assert "remove new" in plan.log and "remove old" not in plan.log
    assert [section.step for section in plan.handles.sections] == ["old"]


def test_delete_removes_everything_in_reverse_order(plan: Plan) -> None:
    plan.add("a", remove=True)
    plan.add("b", remove=True)
    plan.run()
    undo_steps(plan.steps, plan.handles, plan.undo_for)
    assert remove_steps(plan.steps, plan.handles, plan.undo_for, made_by=None) == []
    assert plan.log[-2:] == ["remove b", "remove a"]
    assert plan.handles.sections == []


def test_step_whose_plugin_is_gone_is_an_error_with_the_package_and_the_others_are_undone(plan: Plan) -> None:
    plan.add("a")
    plan.add("b", plugin="foo")
    plan.run()
    failures = undo_steps({"a": plan.steps["a"]}, plan.handles, plan.undo_for)
    assert "undo a" in plan.log
    [error] = failures
    assert isinstance(error, PluginError) and "plugin 'foo'" in error.message
    assert error.hint and "pip install banger-plugin-foo" in error.hint
    assert [(s.step, s.live) for s in plan.handles.sections] == [("b", True)]


def test_full_disk_between_two_steps_takes_the_earlier_one_back(plan: Plan) -> None:
    """The section of the second cannot be written: that too is a failed start."""

    class FullDisk(Handles):
        def enter(self, step: str, plugin: str, run: str, *, keep: bool) -> Section:
            if step == "b":
                raise StoreError("no space left")
            return super().enter(step, plugin, run, keep=keep)

    plan.add("a")
    plan.add("b")
    handles = FullDisk(plan.start.paths.directory / "handles.json", lambda _: None)
    with pytest.raises(StoreError, match="no space") as caught:
        plan.run(handles=handles)
    assert plan.log == ["run a", "undo a"]
    assert caught.value.step == "b"


def test_quiesce_runs_in_reverse_order_and_its_failure_is_only_logged(plan: Plan) -> None:
    log: list[str] = []

    def quiesce(name: str, fails: bool) -> Callable[[UndoContext], None]:
        def run(ctx: UndoContext) -> None:
            log.append(name)
            if fails:
                raise RuntimeError(name)

        return run

    for name, fails in (("a", False), ("b", True), ("c", False)):
        step = StartStep(name, lambda ctx: None, quiesce=quiesce(name, fails))
        plan.steps[name] = Owned(step, "p")
    plan.run()
    quiesce_steps(plan.steps, plan.handles, plan.undo_for)
    assert log == ["c", "b", "a"]


def test_records_reach_the_file_before_the_step_goes_on(plan: Plan) -> None:
    def run(ctx: Any) -> None:
        ctx.record("tap", "tap7")
        on_disk = json.loads((plan.start.paths.directory / "handles.json").read_text())
        assert on_disk["sections"][0]["data"] == {"tap": "tap7"}
        raise HostError("crash")

    plan.steps["a"] = Owned(StartStep("a", run, undo=lambda ctx: plan.log.append(ctx.section["tap"])), "p")
    with pytest.raises(HostError, match="crash"):
        plan.run()
    assert plan.log == ["tap7"]


def test_an_undo_that_calls_sys_exit_stops_neither_the_others_nor_the_original_error(tmp_path: Path) -> None:
    plan = Plan(tmp_path)
    plan.add("first")
    plan.add("leaves", undo_fails=SystemExit(3))
    plan.add("breaks", fails=HostError("the original"))
    with pytest.raises(ExceptionGroup) as caught:
        plan.run()
    assert str(caught.value.exceptions[0]) == "the original"
    assert [line for line in plan.log if line.startswith("undo")] == [
        "undo breaks",
        "undo leaves",
        "undo first",
    ]
