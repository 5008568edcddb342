"""A running VM held still for a copy of its disks goes on, also when the daemon was killed meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from banger.daemon.context import OperationContext
from banger.daemon.quiet import quiet_disks, release_disks
from banger.errors import GuestError
from banger.model.vm import Vm, VmState
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp
from banger.testing.samples import sample_image, sample_kernel, sample_vm

from .paper_lab import make_lab, make_vmm


class Guest:
    """A VM's guest and its processors, which note what they are told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.silent = False

    async def request(self, vm_id: str, socket: Path, op: str, **fields: Any) -> dict[str, Any]:
        self.told.append(op)
        if self.silent:
            raise GuestError("waited 5 s for the guest's answer")
        return {}

    def pause(self, sockets: Path) -> None:
        self.told.append("pause")

    def resume(self, sockets: Path) -> None:
        self.told.append("resume")

    async def drop(self, vm_id: str) -> None: ...
    async def close(self) -> None: ...


@pytest.fixture
def guest() -> Guest:
    return Guest()


@pytest.fixture
def app(banger_app: MakeApp, guest: Guest, monkeypatch: pytest.MonkeyPatch) -> BangerApp:
    vmm = make_vmm(pause=guest.pause, resume=guest.resume)
    app = banger_app(make_lab(vmms=[vmm]), builtin=[], config="[defaults]\nmemory = 128\n")
    monkeypatch.setattr(app.services, "guests", guest)
    return app


@pytest.fixture
def vm(app: BangerApp) -> Vm:
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    vm = sample_vm(state=VmState.RUNNING, spec={"vmm": "paper"})
    app.services.database.add_vm(vm)
    (app.paths.vms / vm.id).mkdir()
    return vm


def hold(app: BangerApp, vm: Vm) -> Any:
    return quiet_disks(OperationContext(app.services, app.services.operations.begin("test")), vm)


GOES_ON = ["resume", "thaw", "clock"]


def test_guest_freezes_stands_still_and_goes_on(app: BangerApp, guest: Guest, vm: Vm) -> None:
    with pytest.raises(ZeroDivisionError), hold(app, vm) as directory:
        assert guest.told == ["freeze", "pause"]
        assert [file.name for file in directory.iterdir()] == ["held"]
        raise ZeroDivisionError
    assert guest.told == ["freeze", "pause", *GOES_ON]
    assert list(directory.iterdir()) == []


def test_daemon_that_was_killed_meanwhile_leaves_no_vm_standing_still(
    app: BangerApp, guest: Guest, vm: Vm
) -> None:
    (app.paths.vms / vm.id / "held").touch()
    release_disks(app.services, vm, runs=True)
    release_disks(app.services, vm, runs=True)  # whom somebody else paused stays so
    assert guest.told == GOES_ON
    (app.paths.vms / vm.id / "held").touch()
    release_disks(app.services, vm, runs=False)
    assert guest.told == GOES_ON and list((app.paths.vms / vm.id).iterdir()) == []


def test_guest_that_does_not_answer_hinders_no_daemon(app: BangerApp, guest: Guest, vm: Vm) -> None:
    (app.paths.vms / vm.id / "held").touch()
    guest.silent = True
    release_disks(app.services, vm, runs=True)
    assert guest.told == ["resume", "thaw"] and list((app.paths.vms / vm.id).iterdir()) == []
