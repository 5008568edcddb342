from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import banger_hello
import pytest

from banger.api import StartStep
from banger.testing.samples import sample_vm
from banger.testing.start import FakeStart
from banger.testing.step_contract import StartStepContract

VM = sample_vm(spec={"capabilities": {"hello": {"to": "World"}}})


class TestHelloStep(StartStepContract):
    @pytest.fixture
    def step(self) -> StartStep:
        return banger_hello.banger_register_capabilities()[0].steps[0]

    @pytest.fixture
    def make_start(self, tmp_path: Path) -> Callable[..., FakeStart]:
        def make(name: str = "one", fail_at: int = 0) -> FakeStart:
            return FakeStart(tmp_path / name, vm=VM, fail_at=fail_at)

        return make

    def vm_resources(self, start: FakeStart) -> list[str]:
        return [path.name for path in start.paths.directory.glob("hello*")]


def test_disk_is_made_before_the_vm_boots(plan_for: Callable[..., list[str]]) -> None:
    plan = plan_for("hello", plugins=[banger_hello])
    assert plan.index("hello-disk") < plan.index("boot")
