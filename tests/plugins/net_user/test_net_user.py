from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

import banger_net_user
from banger.errors import NetworkError
from banger.start.spine import SPINE
from banger.start.step import StartStep
from banger.testing.samples import sample_id, sample_vm
from banger.testing.start import FakeStart, FakeStepContext
from banger.testing.step_contract import MakeStart, StartStepContract
from banger_net_user import address, attach
from banger_net_user.settings import Settings

[MODE] = banger_net_user.banger_register_networks()
[NETWORK_STEP] = [step for step in SPINE if step.name == "network"]


def vm(
    name: str = "otter", *, publish: list[tuple[int, int]] | None = None, at: str | None = "127.64.3.7"
) -> Any:
    ports = [{"host": host, "guest": guest} for host, guest in publish or []]
    return sample_vm(name, address=at, spec={"publish": ports})


def context(tmp_path: Path, row: Any, **settings: Any) -> Any:
    start = FakeStart(tmp_path, vm=row, network=MODE, settings={"net-user": Settings(**settings)})
    handles = start.handles()
    return FakeStepContext(start, handles, handles.enter("network", "core", "r", keep=False))


class TestNetworkStep(StartStepContract):
    @pytest.fixture
    def step(self) -> StartStep:
        return NETWORK_STEP

    @pytest.fixture
    def make_start(self, tmp_path: Path) -> MakeStart:
        def make(name: str = "one", fail_at: int = 0) -> FakeStart:
            settings = {"net-user": Settings()}
            return FakeStart(tmp_path / name, vm=vm(), network=MODE, settings=settings, fail_at=fail_at)

        return make

    def run_resources(self, start: FakeStart) -> list[str]:
        return []  # the ports go with the VMM's process

    def test_run_acquires_what_is_declared(self, step: StartStep, make_start: MakeStart) -> None:
        start = make_start()
        start.run(step)
        assert start.attachment is not None and start.section(step)["mode"] == "user"


# Addresses


def test_addresses_lie_in_the_pool_and_are_no_network_or_broadcast_address() -> None:
    for number in range(300):
        given = IPv4Address(address.assign(vm(f"vm{number}"), frozenset()))
        assert given in address.POOL and given.packed[3] not in (0, 255)


def test_addresses_spread_over_the_whole_pool() -> None:
    given = [IPv4Address(address.assign(vm(f"vm{number}"), frozenset())).packed for number in range(300)]
    assert len(set(given)) > 295
    assert len({packed[1] for packed in given}) > 50, "the second byte takes all of 64 to 127"


def test_address_depends_on_the_vm_and_on_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = address.assign(vm("a"), frozenset())
    assert address.assign(vm("a"), frozenset()) == mine != address.assign(vm("b"), frozenset())
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert address.assign(vm("a"), frozenset()) != mine


def test_taken_address_gives_way_to_the_next_free_one() -> None:
    taken: set[str] = set()
    for _ in range(600):
        given = address.assign(vm("a"), frozenset(taken))
        assert given not in taken
        taken.add(given)
    assert all(IPv4Address(given).packed[3] not in (0, 255) for given in taken)


def test_search_goes_round_the_end_of_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    from ipaddress import IPv4Network

    monkeypatch.setattr(address, "POOL", IPv4Network("127.64.0.0/30"))
    taken: set[str] = set()
    for _ in range(3):
        taken.add(address.assign(vm("a"), frozenset(taken)))
    assert taken == {"127.64.0.1", "127.64.0.2", "127.64.0.3"}
    with pytest.raises(NetworkError, match="every address") as caught:
        address.assign(vm("a"), frozenset(taken))
    assert caught.value.hint


# Ports


@pytest.mark.parametrize(
    ("wanted", "limit", "given"),
    [
        (80, 1024, 20080),
        (1023, 1024, 21023),
        (1024, 1024, 1024),
        (8080, 1024, 8080),
        (80, 80, 80),
        (80, 0, 80),
        (65535, 1024, 65535),
    ],
)
def test_ports_below_the_unprivileged_limit_appear_higher_and_others_keep_their_number(
    wanted: int, limit: int, given: int
) -> None:
    assert attach.host_port(wanted, limit) == given


def test_limit_is_the_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "limit").write_text("42\n")
    monkeypatch.setattr(attach, "_LIMIT", tmp_path / "limit")
    assert attach.unprivileged_limit() == 42
    monkeypatch.setattr(attach, "_LIMIT", tmp_path / "missing")
    assert attach.unprivileged_limit() == 1024


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "unprivileged_limit", lambda: 1024)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.64.3.7", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_attachment_forwards_published_ports_from_the_vms_own_address(tmp_path: Path, limit: None) -> None:
    ctx = context(tmp_path, vm(publish=[(80, 8000), (18080, 80)]))
    forwards = attach.prepare(ctx).forwards
    assert [(f.host_address, f.host_port, f.guest_port) for f in forwards] == [
        ("127.64.3.7", 20080, 8000),
        ("127.64.3.7", 18080, 80),
    ]
    assert ctx.recorded()["forwards"] == [["127.64.3.7", 20080, 8000], ["127.64.3.7", 18080, 80]]


def test_taken_port_is_one_clear_error(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(NetworkError, match=f"127.64.3.7:{taken_port} is taken") as caught:
        attach.prepare(context(tmp_path, vm(publish=[(taken_port, 80)])))
    assert "--publish HOST:GUEST" in (caught.value.hint or "")


def test_port_taken_on_every_address_is_noticed_too(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(NetworkError, match="is taken"):
            attach.prepare(context(tmp_path, vm(publish=[(port, 80)])))


def test_same_port_on_another_vms_address_is_free(tmp_path: Path, taken_port: int) -> None:
    row = vm(publish=[(taken_port, 80)], at="127.64.3.8")
    assert attach.prepare(context(tmp_path, row)).forwards[0].host_port == taken_port


def test_two_ports_that_meet_after_the_shift_are_refused(tmp_path: Path, limit: None) -> None:
    with pytest.raises(NetworkError, match="two published ports want 127.64.3.7:20080") as caught:
        attach.prepare(context(tmp_path, vm(publish=[(80, 80), (20080, 81)])))
    assert "20000 higher" in (caught.value.hint or "")


def test_port_that_would_be_shifted_out_of_range_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach, "unprivileged_limit", lambda: 60000)
    with pytest.raises(NetworkError) as caught:
        attach.prepare(context(tmp_path, vm(publish=[(50000, 80)])))
    assert caught.value.hint


def test_vm_without_an_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="has no address"):
        attach.prepare(context(tmp_path, vm(at=None)))


def test_restrict_comes_from_the_settings(tmp_path: Path) -> None:
    assert attach.prepare(context(tmp_path / "a", vm())).restrict is False
    assert attach.prepare(context(tmp_path / "b", vm(), restrict=True)).restrict is True


def test_mac_is_locally_administered_unicast_and_the_vms_own() -> None:
    macs = {attach.mac_of(sample_id(str(number))) for number in range(200)}
    assert len(macs) == 200
    assert all(mac.startswith("02:") and len(mac) == 17 and mac == mac.lower() for mac in macs)
