"""``vm set --memory`` of a VM that runs: now where VMM and guest can, else at its next start, and said so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from banger.errors import VmmError
from banger.model.vm import VmState
from banger.model.vmm import VmmStatus
from banger.testing.app import BangerApp
from banger.testing.samples import sample_vm
from tests.core.daemon.paper_lab import make_vmm

MakeLab = Callable[..., BangerApp]
SetMemory = Callable[[Path, int], int]


def running(lab: MakeLab, set_memory: SetMemory | None) -> BangerApp:
    app = lab(vmms=[make_vmm(set_memory=set_memory)])
    vm = sample_vm("otter", state=VmState.RUNNING, spec={"vmm": "paper", "memory_mib": 256})
    app.services.database.add_vm(vm)
    return app


def test_a_guest_that_can_has_it_at_once(lab: MakeLab) -> None:
    asked: list[int] = []

    def give(_: Path, mib: int) -> int:
        asked.append(mib)
        return mib

    app = running(lab, give)
    changed = app.call("vm.set", {"vm": "otter", "memory": 192})
    assert changed["notices"] == [] and asked == [192]
    assert changed["vm"]["spec"]["memory_mib"] == 192 and changed["vm"]["running_spec"] is None
    both = app.call("vm.set", {"vm": "otter", "memory": 160, "vcpu": 2})
    assert "changes at its next start" in both["notices"][0]
    now = both["vm"]["running_spec"]
    assert (now["memory_mib"], now["vcpu"], both["vm"]["spec"]["vcpu"]) == (160, 1, 2)


def _refuse(_: Path, mib: int) -> int:
    raise VmmError(f"no {mib}")


@pytest.mark.parametrize("set_memory", [None, lambda _, mib: 256, _refuse], ids=["none", "stays", "fails"])
def test_one_that_cannot_has_it_at_its_next_start(lab: MakeLab, set_memory: SetMemory | None) -> None:
    app = running(lab, set_memory)
    changed = app.call("vm.set", {"vm": "otter", "memory": 192})
    assert "changes at its next start" in changed["notices"][0]
    assert changed["vm"]["spec"]["memory_mib"] == 192
    assert changed["vm"]["running_spec"]["memory_mib"] == 256


def test_a_paused_one_is_not_asked(lab: MakeLab) -> None:
    app = running(lab, _refuse)
    vm = app.services.database.vms()[0]
    app.services.statuses[vm.id] = VmmStatus("paused", "paused", "banger vm resume")
    assert app.call("vm.set", {"vm": "otter", "memory": 192})["notices"]


def test_one_that_ends_meanwhile_has_nothing_left_to_change(lab: MakeLab) -> None:
    def ends(_: Path, mib: int) -> int:
        vm = app.services.database.vms()[0]
        stopped = vm.model_copy(update={"state": VmState.STOPPED, "running_spec": None})
        app.services.database.update_vm(stopped)
        return mib

    app = running(lab, ends)
    changed = app.call("vm.set", {"vm": "otter", "memory": 192})
    assert changed["notices"] == [] and changed["vm"]["state"] == "stopped"
    assert changed["vm"]["running_spec"] is None
