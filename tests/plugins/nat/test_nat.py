"""The capability ``nat``: its step, what is set right when the daemon starts, what stands in its way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import banger_nat
from banger.helper.requests import AllowNat, EnsureBridge
from banger.model.network import GuestInterface, QemuUser, Tap
from banger.model.vm import VmState
from banger.start.step import StartStep
from banger.testing.privileged import FakePrivileged
from banger.testing.samples import sample_vm
from banger.testing.start import FakeStart
from banger.testing.step_contract import MakeStart, StartStepContract
from banger_nat import service
from banger_nat.blockers import describe_blockers
from banger_nat.check import check_nat
from banger_nat.note import NOTE, read_note

[NAT] = banger_nat.banger_register_capabilities()
[STEP] = NAT.steps
BRIDGE, MARK, ADDRESS = "br-banger", "0123abcd", "172.16.176.9"


def make_start(tmp_path: Path, fail_at: int = 0) -> FakeStart:
    vm = sample_vm(address=ADDRESS, spec={"network": "bridge", "capabilities": {"nat": {}}})
    start = FakeStart(tmp_path, vm=vm, fail_at=fail_at)
    start.attachment = Tap(GuestInterface("02:aa:bb:cc:dd:ee", f"{ADDRESS}/20"), "bgr-1", BRIDGE, MARK)
    start.privileged.call(EnsureBridge(BRIDGE, MARK, "172.16.176.1", 20))
    return start


def guests(start: FakeStart) -> list[str]:
    assert isinstance(start.privileged, FakePrivileged)
    return sorted(start.privileged.bridges[BRIDGE].guests)


class TestNatStep(StartStepContract):
    @pytest.fixture
    def step(self) -> StartStep:
        return STEP

    @pytest.fixture
    def make_start(self, tmp_path: Path) -> MakeStart:
        return lambda name="one", fail_at=0: make_start(tmp_path / name, fail_at)

    def run_resources(self, start: FakeStart) -> list[str]:
        return [*guests(start), *(str(path) for path in start.paths.directory.glob(NOTE))]


def test_a_vm_on_a_bridge_gets_its_way_out_and_a_note_of_it(tmp_path: Path) -> None:
    start = make_start(tmp_path)
    start.run(STEP)
    assert guests(start) == [ADDRESS]
    assert read_note(start.paths.directory) == (BRIDGE, MARK, ADDRESS)
    assert start.notices == []


def test_a_firewall_in_the_way_is_said_with_what_to_do(tmp_path: Path) -> None:
    start = make_start(tmp_path)
    assert isinstance(start.privileged, FakePrivileged)
    start.privileged.blockers = [
        {"table": "ip filter", "chain": "INPUT", "hook": "input", "who": "ufw"},
        {"table": "ip filter", "chain": "FORWARD", "hook": "forward", "who": "docker"},
    ]
    start.run(STEP)
    [notice] = start.notices
    assert notice.startswith(
        "Docker's firewall drops what VMs send (ip filter, chain FORWARD); sudo iptables"
    )
    assert "DOCKER-USER -i br-banger" in notice


@pytest.mark.parametrize("who", ["docker", "firewalld", "ufw", ""])
def test_every_firewall_has_its_remedy(who: str) -> None:
    detail, hint = describe_blockers({"table": "inet x", "chain": "f", "who": who}, BRIDGE)
    assert "drops what VMs send" in detail and BRIDGE in hint


def test_a_vm_that_left_the_bridge_needs_no_nat(tmp_path: Path) -> None:
    """Its capability stays when its network changes."""
    start = make_start(tmp_path)
    start.attachment = QemuUser(GuestInterface("02:aa:bb:cc:dd:ee", "10.0.2.15/24"))
    start.run(STEP)
    assert guests(start) == [] and not (start.paths.directory / NOTE).exists()


def test_it_is_for_bridges_and_on_there() -> None:
    assert NAT.default and NAT.fits("tap") and not NAT.fits("qemu-user")


class Context:
    """What the service gets, without a daemon."""

    def __init__(self, privileged: FakePrivileged, vms: list[tuple[Any, Path]]) -> None:
        self.privileged, self._vms = privileged, vms
        self.reports: list[str] = []

    def records(self) -> list[Any]:
        return [vm for vm, _ in self._vms]

    def directory_of(self, vm: Any) -> Path:
        return next(path for other, path in self._vms if other == vm)

    def report(self, detail: str) -> None:
        self.reports.append(detail)


async def test_when_the_daemon_starts_those_that_run_have_a_way_out_and_no_others(tmp_path: Path) -> None:
    start = make_start(tmp_path)
    start.run(STEP)
    assert isinstance(start.privileged, FakePrivileged)
    running = start.vm.model_copy(update={"state": VmState.RUNNING})
    start.privileged.bridges[BRIDGE].guests = {"172.16.176.77"}
    context: Any = Context(start.privileged, [(running, start.paths.directory)])
    task = asyncio.create_task(service.serve(context))
    async with asyncio.timeout(20):
        while not context.reports:
            await asyncio.sleep(0.01)
    assert context.reports == ["1 VMs had a way out when the daemon started"]
    assert start.privileged.requests[-1] == AllowNat(BRIDGE, MARK, (ADDRESS,), only=True)
    assert guests(start) == [ADDRESS]
    banger_nat.banger_vm_deleted(running)
    assert guests(start) == [], "also when nobody could read what it held"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_vm_that_does_not_run_loses_it(tmp_path: Path) -> None:
    start = make_start(tmp_path)
    start.run(STEP)
    stopped = start.vm.model_copy(update={"state": VmState.STOPPED})
    service.apply(start.privileged, [(stopped, start.paths.directory)])
    assert guests(start) == []


@pytest.mark.parametrize("note", ["", "[]", '{"bridge": 1}', "{"])
def test_a_note_that_is_none_is_none(tmp_path: Path, note: str) -> None:
    (tmp_path / NOTE).write_text(note)
    assert read_note(tmp_path) is None
    assert read_note(tmp_path / "none") is None


def test_doctor_says_something_everywhere(
    fake_host: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("banger_nat.check.find_places", lambda: {(BRIDGE, MARK)})
    seam = FakePrivileged()
    monkeypatch.setattr("banger_nat.check.HostPrivileged", lambda: seam)
    seam.call(EnsureBridge(BRIDGE, MARK, "172.16.176.1", 20))
    seam.call(AllowNat(BRIDGE, MARK, (ADDRESS,), only=False))
    assert check_nat(fake_host.commands).detail == "1 VMs have a way out by nat"
    policy = tmp_path / "conf" / BRIDGE / "forwarding"
    policy.parent.mkdir(parents=True)
    policy.write_text("1\n")
    assert check_nat(fake_host.commands, tmp_path).status.value == "PASS"
    policy.write_text("0\n")
    found = check_nat(fake_host.commands, tmp_path)
    assert found.status.value == "FAIL" and f"net.ipv4.conf.{BRIDGE}.forwarding=1" in str(found.hint)
    seam.blockers = [{"table": "inet firewalld", "chain": "f", "hook": "forward", "who": "firewalld"}]
    found = check_nat(fake_host.commands)
    assert found.status.value == "WARN" and "firewall-cmd" in str(found.hint)
    monkeypatch.setattr("banger_nat.check.HostPrivileged", lambda: FakePrivileged(None))
    assert check_nat(fake_host.commands).status.value == "PASS"
