"""The network ``bridge``: addresses, the attachment, the pool of taps."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import banger_net_bridge
from banger.errors import ConflictError, NetworkError
from banger.helper.requests import ClaimTap, CreateTap, EnsureBridge, GuardTap, RemoveTap
from banger.model.network import Tap
from banger.start.spine import SPINE
from banger.start.step import StartStep
from banger.testing.privileged import FakePrivileged
from banger.testing.samples import sample_id, sample_image, sample_kernel, sample_vm
from banger.testing.start import FakeStart
from banger.testing.step_contract import MakeStart, StartStepContract
from banger_net_bridge import attach, pool
from banger_net_bridge.address import assign, mac_of
from banger_net_bridge.check import check_bridge, is_offered
from banger_net_bridge.commands import remove, show
from banger_net_bridge.place import find_place, tap_of
from banger_net_bridge.settings import Settings

[MODE] = banger_net_bridge.banger_register_networks()
[STEP] = [step for step in SPINE if step.name == "network"]
DEFAULT = Settings(dns=("192.0.2.53",))


@pytest.fixture(autouse=True)
def empty_pool() -> None:
    pool.POOL.clear()


def make_vm(name: str = "otter", *, publish: list[tuple[int, int]] | None = None, **changes: Any) -> Any:
    ports = [{"host": host, "guest": guest} for host, guest in publish or []]
    values = {"address": "172.16.176.9", "spec": {"publish": ports, "network": "bridge"}, **changes}
    return sample_vm(name, **values)


def make_start(tmp_path: Path, vm: Any, settings: Settings = DEFAULT, fail_at: int = 0) -> FakeStart:
    return FakeStart(tmp_path, vm=vm, network=MODE, settings={"net-bridge": settings}, fail_at=fail_at)


def fake(start: FakeStart) -> FakePrivileged:
    assert isinstance(start.privileged, FakePrivileged)
    return start.privileged


class TestNetworkStep(StartStepContract):
    @pytest.fixture
    def step(self) -> StartStep:
        return STEP

    @pytest.fixture
    def make_start(self, tmp_path: Path) -> MakeStart:
        return lambda name="one", fail_at=0: make_start(tmp_path / name, make_vm(), fail_at=fail_at)

    def run_resources(self, start: FakeStart) -> list[str]:
        return [tap for bridge in fake(start).bridges.values() for tap in bridge.taps]


def test_the_attachment_has_what_the_guest_and_the_vmm_need(tmp_path: Path) -> None:
    vm = make_vm(publish=[(80, 80)])
    start = make_start(tmp_path, vm)
    start.run(STEP)
    place = find_place(DEFAULT)
    tap = start.attachment
    assert isinstance(tap, Tap)
    assert (tap.device, tap.bridge, tap.mark) == (tap_of(vm.id), "br-banger", place.mark)
    assert tap.interface.address == "172.16.176.9/20"
    assert (tap.interface.gateway, tap.interface.dns) == ("172.16.176.1", ("192.0.2.53",))
    assert tap.interface.mac == mac_of(vm.id) and tap.interface.mac.startswith("02:")
    assert fake(start).requests == [
        EnsureBridge("br-banger", place.mark, "172.16.176.1", 20),
        CreateTap("br-banger", place.mark, tap.device, isolated=False),
        GuardTap("br-banger", place.mark, tap.device, mac_of(vm.id), "172.16.176.9"),
    ]
    assert start.section(STEP)["forwards"] == [["172.16.176.9", 80, 80]]
    start.undo(STEP)
    assert fake(start).requests[-1] == RemoveTap("br-banger", place.mark, tap.device)
    assert list(fake(start).bridges) == ["br-banger"], "the bridge stays"


def test_a_tap_of_the_pool_is_taken_and_one_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    start = make_start(tmp_path, make_vm(), Settings(isolate=True))
    place = find_place(DEFAULT)
    fake(start).call(place.request())
    fake(start).call(CreateTap("br-banger", place.mark, "bgrp-00000002", isolated=True))
    pool.POOL.put("br-banger", ["bgrp-00000002", "bgrp-00000001"], isolated=True)
    pool.POOL.put("br-banger", ["bgrp-00000003"], isolated=False)
    start.run(STEP)
    claims = [request for request in fake(start).requests if isinstance(request, ClaimTap)]
    assert [claim.pooled for claim in claims] == ["bgrp-00000001", "bgrp-00000002"]
    assert fake(start).bridges["br-banger"].taps == {tap_of(start.vm.id): True}
    assert pool.POOL.count("br-banger", isolated=False) == 1, "an isolated VM gets an isolated tap"


def test_an_address_of_another_subnet_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    start = make_start(tmp_path, make_vm(), Settings(subnet="10.213.0.0/20"))
    with pytest.raises(NetworkError, match=r"172\.16\.176\.9, which is not in 10\.213\.0\.0/20"):
        start.run(STEP)
    assert fake(start).requests == []


def test_addresses_are_the_vms_own_and_used_up_one_by_one() -> None:
    settings = Settings(subnet="10.0.0.0/29")
    vm = make_vm()
    assert assign(vm, frozenset(), settings) == assign(vm, frozenset(), settings)
    taken: set[str] = set()
    for _ in range(5):
        taken.add(assign(vm, frozenset(taken), settings))
    assert taken == {str(IPv4Network("10.0.0.0/29")[number]) for number in range(2, 7)}
    with pytest.raises(NetworkError, match=r"every address of 10\.0\.0\.0/29 is taken"):
        assign(vm, frozenset(taken), settings)
    names = [assign(make_vm(name, id=sample_id(name)), frozenset(), DEFAULT) for name in "abcdefgh"]
    assert len(set(names)) > 4 and all(IPv4Address(name) in IPv4Network(DEFAULT.subnet) for name in names)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bridge": "eth0"},
        {"bridge": "br-banger-toolong"},
        {"subnet": "10.0.0.1/24"},
        {"subnet": "10.0.0.0/30"},
        {"subnet": "10.0.0.0/7"},
        {"subnet": "fd00::/64"},
        {"pool": 65},
        {"dns": ["one.example"]},
        {"other": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)


def test_the_guests_name_servers_are_the_hosts_that_it_can_reach(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\nnameserver ::1\n")
    real.write_text("# x\nnameserver 192.0.2.1\nnameserver fe80::1\nnameserver\nnameserver 192.0.2.2\n")
    assert attach.find_name_servers((tmp_path / "none", stub, real)) == ("192.0.2.1", "192.0.2.2")
    assert attach.find_name_servers((stub,)) == ()


class Context:
    """What the service gets, without a daemon."""

    def __init__(self, privileged: FakePrivileged, *vms: Any) -> None:
        self.privileged, self._vms = privileged, vms
        self.reports: list[str] = []

    def settings(self) -> Settings:
        return DEFAULT

    def records(self) -> list[Any]:
        return list(self._vms)

    def report(self, detail: str) -> None:
        self.reports.append(detail)


async def reported(context: Context, what: str, past: int = 0) -> None:
    """Wait until the service has said something, bounded."""
    async with asyncio.timeout(20):
        while not any(what in report for report in context.reports[past:]):
            await asyncio.sleep(0.01)


async def test_the_pool_is_filled_adopted_and_rid_of_taps_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    privileged, place, vm = FakePrivileged(), find_place(DEFAULT), make_vm()
    monkeypatch.setattr(
        pool,
        "is_link",
        lambda name: (
            name in privileged.bridges or any(name in bridge.taps for bridge in privileged.bridges.values())
        ),
    )
    context: Any = Context(privileged, vm)
    task = asyncio.create_task(pool.serve(context))
    await reported(context, "no VM was on the bridge yet")
    assert privileged.requests == [], "until then nothing is asked for"
    privileged.call(place.request())
    said = len(context.reports)
    assert pool.POOL.take("br-banger", isolated=False) is None
    await reported(context, "2 taps are ready in br-banger", said)
    said = len(context.reports)
    taken = pool.POOL.take("br-banger", isolated=False)
    assert taken is not None
    await reported(context, "2 taps are ready", said)
    privileged.call(ClaimTap("br-banger", place.mark, tap_of(vm.id), taken))
    privileged.call(CreateTap("br-banger", place.mark, "bgr-ffffffff", isolated=False))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    again: Any = Context(privileged, vm)
    task = asyncio.create_task(pool.serve(again))
    await reported(again, "2 taps are ready")
    assert min(privileged.bridges["br-banger"].taps) == tap_of(vm.id)
    assert (
        "bgr-ffffffff" not in privileged.bridges["br-banger"].taps
        and len(privileged.bridges["br-banger"].taps) == 3
    )
    assert any(isinstance(request, GuardTap) for request in privileged.requests), "guarded again"
    banger_net_bridge.banger_vm_deleted(vm)
    assert tap_of(vm.id) not in privileged.bridges["br-banger"].taps
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_the_bridge_is_shown_and_removed(
    banger_app: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    app, privileged, place = banger_app(builtin=["core", "net-bridge"]), FakePrivileged(), find_place(DEFAULT)
    app.services.privileged = privileged
    monkeypatch.setattr("banger_net_bridge.operations.is_link", lambda name: name in privileged.bridges)
    assert show.callback is not None and remove.callback is not None
    show.callback(as_json=False)
    assert "there is no bridge br-banger" in capfd.readouterr().err
    assert app.call("bridge.remove") == {"bridge": "br-banger", "removed": False}
    vm = make_vm()
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    app.services.database.add_vm(vm)
    privileged.call(place.request())
    privileged.call(CreateTap("br-banger", place.mark, tap_of(vm.id), isolated=False))
    privileged.call(CreateTap("br-banger", place.mark, "bgrp-00000001", isolated=True))
    show.callback(as_json=False)
    said = capfd.readouterr().out
    assert f"{tap_of(vm.id)}  otter" in said and "bgrp-00000001" in said and "for nobody" in said
    with pytest.raises(ConflictError, match="still has"):
        remove.callback(as_json=False)
    privileged.call(RemoveTap("br-banger", place.mark, tap_of(vm.id)))
    remove.callback(as_json=False)
    assert "br-banger is removed" in capfd.readouterr().err and privileged.bridges == {}


def test_without_an_installed_helper_nobody_is_put_on_the_bridge_unasked(fake_host: Any) -> None:
    assert is_offered() is False
    assert check_bridge(fake_host.commands).status.value in ("PASS", "WARN")
    assert MODE.leads_out is not None and MODE.leads_out(DEFAULT) is False
