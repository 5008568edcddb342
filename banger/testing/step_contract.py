"""What every start step has to hold, as a class to subclass in a test module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from banger.start.step import StartStep
from banger.testing.start import FakeStart, Interrupted

MakeStart = Callable[..., FakeStart]

#: Touches after which a step that still can be interrupted is taken to loop.
_MANY = 500


class StartStepContract:
    """Subclass with a fixture ``step``, and say what it holds.

    .. code-block:: python

        class TestLease(StartStepContract):
            @pytest.fixture
            def step(self):
                return StartStep("lease", run=take, undo=drop, after=("preflight",))

            def run_resources(self, start):
                return [str(path) for path in start.paths.sockets.glob("lease-*")]
    """

    @pytest.fixture
    def step(self) -> StartStep:
        raise NotImplementedError

    @pytest.fixture
    def make_start(self, tmp_path: Path) -> MakeStart:
        """Make starts, each with a directory of its own; override to give them other seams or another VM."""

        def make(name: str = "one", fail_at: int = 0) -> FakeStart:
            return FakeStart(tmp_path / name, fail_at=fail_at)

        return make

    def prepare(self, start: FakeStart) -> None:
        """Put in place what steps before this one make; override where there is something."""

    def run_resources(self, start: FakeStart) -> list[str]:
        """Return what the step holds on the host as long as the VM runs, by names that mean something."""
        return []

    def vm_resources(self, start: FakeStart) -> list[str]:
        """Return what the step made that lives as long as the VM."""
        return []

    def _ran(self, step: StartStep, start: FakeStart) -> FakeStart:
        self.prepare(start)
        start.run(step)
        return start

    def test_run_acquires_what_is_declared(self, step: StartStep, make_start: MakeStart) -> None:
        start = self._ran(step, make_start())
        if step.undo is not None or step.remove is not None:
            assert self.run_resources(start) or self.vm_resources(start), "run left nothing to take back"

    def test_undo_releases_run_resources_and_keeps_the_vms(
        self, step: StartStep, make_start: MakeStart
    ) -> None:
        start = self._ran(step, make_start())
        kept = self.vm_resources(start)
        start.undo(step)
        assert self.run_resources(start) == []
        assert self.vm_resources(start) == kept

    def test_undo_twice_is_as_good_as_once(self, step: StartStep, make_start: MakeStart) -> None:
        start = self._ran(step, make_start())
        section = dict(start.section(step))
        start.undo(step)
        if step.undo is not None:
            step.undo(start.undo_context(section))
        assert self.run_resources(start) == []

    def test_undo_of_a_step_that_recorded_nothing_does_no_harm(
        self, step: StartStep, make_start: MakeStart
    ) -> None:
        start = make_start()
        for function in (step.undo, step.remove):
            if function is not None:
                function(start.undo_context({}))

    def test_step_runs_again_after_undo(self, step: StartStep, make_start: MakeStart) -> None:
        start = self._ran(step, make_start())
        held = (self.run_resources(start), self.vm_resources(start))
        start.undo(step)
        start.run(step)
        assert (len(self.run_resources(start)), len(self.vm_resources(start))) == tuple(map(len, held))

    def test_remove_twice_leaves_nothing(self, step: StartStep, make_start: MakeStart) -> None:
        start = self._ran(step, make_start())
        section = dict(start.section(step))
        start.undo(step)
        start.remove(step)
        if step.remove is not None:
            step.remove(start.undo_context(section))
        assert self.run_resources(start) == []
        assert self.vm_resources(start) == []

    def test_failure_half_way_is_taken_back_wherever_it_happens(
        self, step: StartStep, make_start: MakeStart
    ) -> None:
        for fail_at in range(1, _MANY):
            start = make_start(f"failed at {fail_at}", fail_at)
            self.prepare(start)
            try:
                start.run(step)
            except Interrupted:
                start.fail_at = 0
            else:
                return
            start.undo(step)
            assert self.run_resources(start) == [], f"held after an undo at touch {fail_at}"
            start.remove(step)
            assert self.vm_resources(start) == [], f"left after a remove at touch {fail_at}"
            self.prepare(start)
            start.run(step)
        raise AssertionError(f"the step touches its context more than {_MANY} times")
