"""``--ttl`` and ``--auto-stop``: accounts of time that no clock's jump touches, and what is done when it is over."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from banger.daemon.main import write_commands
from banger.errors import BangerError, UsageError
from banger.model.vm import Vm, VmState
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel, sample_vm
from banger_lifetime.ledger import Ledger
from banger_lifetime.options import Options, format_time, parse_time
from banger_lifetime.service import Keeper
from banger_lifetime.traffic import busy_addresses

DAY = 86400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("3d", 259200), ("never", None), (60, 60)],
)
def test_times(text: object, seconds: int | None) -> None:
    assert parse_time(text) == seconds
    if seconds:
        assert parse_time(format_time(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "-5m", "0s", "1.5h", "99999d", "30m " * 30, "5w"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="no time that a VM may last"):
        parse_time(text)


def a_vm(name: str = "otter", state: VmState = VmState.RUNNING, **options: Any) -> Vm:
    spec = {"capabilities": {"lifetime": Options(**options).model_dump()}}
    return sample_vm(name, spec=spec, state=state, started_at=datetime(2026, 1, 1, tzinfo=UTC))


class FakeContext:
    """A daemon that only writes down what it is told to do."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.vms: list[Vm] = []
        self.used: dict[str, float] = {}
        self.called: list[tuple[str, str]] = []
        self.failing = False

    def records(self) -> list[Vm]:
        return self.vms

    def directory_of(self, vm: Vm) -> Path:
        folder = self.directory / vm.name
        folder.mkdir(exist_ok=True)
        return folder

    def last_used(self, vm: Vm) -> float | None:
        return self.used.get(vm.name)

    async def call(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        [vm] = [vm for vm in self.vms if vm.id == params["vm"]]
        self.called.append((operation, vm.name))
        if self.failing:
            raise BangerError("it is stuck")
        return {}

    def report(self, detail: str) -> None:
        pass

    def label(self, vm: Vm) -> str:
        file = self.directory_of(vm) / "labels" / "lifetime"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def ctx(tmp_path: Path) -> FakeContext:
    return FakeContext(tmp_path)


@pytest.fixture
def look(ctx: FakeContext, tmp_path: Path) -> Callable[..., list[tuple[str, str]]]:
    """Return what looks once at a time, with a daemon of its own each time, and says what was done."""

    def look_once(now: float, boot: str = "boot-1") -> list[tuple[str, str]]:
        async def run() -> None:
            made: Any = ctx
            keeper = Keeper(made, Ledger(tmp_path / "lifetimes.json", boot))
            keeper.look(now, busy_addresses())
            while keeper._tasks:
                await asyncio.sleep(0)
            keeper.close()

        asyncio.run(run())
        done, ctx.called = ctx.called, []
        return done

    return look_once


def test_a_vm_is_deleted_when_its_time_is_over_whatever_its_state(
    ctx: FakeContext, look: Callable[..., Any]
) -> None:
    ctx.vms = [a_vm(ttl=100), a_vm("lynx", VmState.STOPPED, ttl=100), a_vm("fox", ttl=300)]
    ctx.used = {"otter": 1e9}  # a use does not prolong it
    assert look(1000.0) == []
    assert ctx.label(ctx.vms[0]) == "deleted in 2m"
    assert look(1099.0) == []
    assert look(1100.0) == [("vm.delete", "otter"), ("vm.delete", "lynx")]


def test_a_time_that_is_set_counts_from_then(ctx: FakeContext, look: Callable[..., Any]) -> None:
    ctx.vms = [vm] = [a_vm(ttl=5000)]
    assert look(0.0) == []
    shorter = a_vm(ttl=100).spec
    ctx.vms = [vm.model_copy(update={"spec": shorter})]
    assert look(1000.0) == []
    assert ctx.label(vm) == "deleted in 2m"
    assert look(1099.0) == []
    assert look(1100.0) == [("vm.delete", "otter")]


def test_a_vm_stops_when_nobody_used_it(ctx: FakeContext, look: Callable[..., Any]) -> None:
    ctx.vms = [vm] = [a_vm(auto_stop=600)]
    assert look(0.0) == []
    assert ctx.label(vm) == "stops in 10m unless used"
    ctx.used = {"otter": 500.0}
    assert look(610.0) == []
    assert ctx.label(vm) == "stops in 9m unless used"
    assert look(1099.0) == []
    # vm touch counts
    ctx.vms = [vm.model_copy(update={"touched_at": datetime(2026, 1, 2, tzinfo=UTC)})]
    assert look(1101.0) == []
    assert look(1700.0) == []
    assert look(1701.0) == [("vm.stop", "otter")]


def test_a_vm_that_is_down_is_not_stopped_and_its_next_run_begins_anew(
    ctx: FakeContext, look: Callable[..., Any]
) -> None:
    vm = a_vm(auto_stop=600)
    ctx.vms = [vm.model_copy(update={"state": VmState.STOPPED})]
    assert look(0.0) == look(5000.0) == []
    assert ctx.label(vm) == ""
    ctx.vms = [vm.model_copy(update={"started_at": datetime(2026, 3, 1, tzinfo=UTC)})]
    assert look(5001.0) == look(5600.0) == []
    assert look(5601.0) == [("vm.stop", "otter")]


def test_a_connection_to_its_address_is_a_use(ctx: FakeContext, look: Callable[..., Any]) -> None:
    ctx.vms = [a_vm(auto_stop=600).model_copy(update={"address": "127.88.7.6"})]
    look(0.0)
    with socket.create_server(("127.88.7.6", 0)) as server:
        assert "127.88.7.6" not in busy_addresses()  # to listen is no traffic
        with socket.create_connection(server.getsockname()):
            assert look(700.0) == []
    ctx.vms = [a_vm(auto_stop=600)]
    assert look(1300.0) == [("vm.stop", "otter")]


@pytest.mark.parametrize("years", [1, -1])
def test_a_calendar_that_jumps_changes_nothing(
    ctx: FakeContext, look: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    import time

    ctx.vms = [a_vm(ttl=3600, auto_stop=600)]
    look(0.0)
    now = time.time() + years * 365 * DAY
    monkeypatch.setattr(time, "time", lambda: now)
    ctx.vms = [vm.model_copy(update={"created_at": vm.created_at - timedelta(days=365)}) for vm in ctx.vms]
    assert look(5.0) == []
    assert ctx.label(ctx.vms[0]) == "stops in 10m unless used, deleted in 1h"


def test_a_boot_of_the_host_keeps_what_was_spent(ctx: FakeContext, look: Callable[..., Any]) -> None:
    ctx.vms = [a_vm(ttl=1000)]
    look(50_000.0)
    look(50_600.0)
    # the clock begins anew, and the hours that the host was off do not count
    assert look(10.0, "boot-2") == []
    assert look(400.0, "boot-2") == []
    assert look(411.0, "boot-2") == [("vm.delete", "otter")]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', '{"x": {"boot": 1}}', "\0"])
def test_accounts_that_are_lost_begin_anew(
    ctx: FakeContext, look: Callable[..., Any], tmp_path: Path, content: str
) -> None:
    ctx.vms = [a_vm(ttl=1000)]
    look(0.0)
    (tmp_path / "lifetimes.json").write_text(content)
    assert look(900.0) == look(1800.0) == []
    assert look(1900.0) == [("vm.delete", "otter")]


def test_what_fails_is_tried_again_later(ctx: FakeContext, tmp_path: Path) -> None:
    ctx.vms, ctx.failing = [a_vm(ttl=10)], True

    async def run() -> None:
        made: Any = ctx
        keeper = Keeper(made, Ledger(tmp_path / "lifetimes.json", "boot"))
        for now in (0.0, 10.0, 15.0, 69.0, 70.0):
            keeper.look(now)
            while keeper._tasks:
                await asyncio.sleep(0)

    asyncio.run(run())
    assert ctx.called == [("vm.delete", "otter")] * 2


def test_a_lifetime_changes_at_once_and_is_shown(banger_app: MakeApp, run_cli: RunCli) -> None:
    app: BangerApp = banger_app(builtin=["core", "lifetime"])
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    app.services.database.add_vm(sample_vm("otter", state=VmState.RUNNING))
    write_commands(app.services)
    set_ = run_cli("vm", "set", "otter", "--ttl", "2h", "--auto-stop", "30m")
    assert set_.status == 0, set_.stderr
    assert "next start" not in set_.stderr
    assert run_cli("vm", "set", "otter", "--auto-stop", "never").status == 0
    vm = app.call("vm.show", {"vm": "otter"})["vm"]
    assert vm["spec"]["capabilities"] == {"lifetime": {"ttl": 7200, "auto_stop": None}}
    assert vm["running_spec"] is None
    assert run_cli("vm", "set", "otter", "--ttl", "soon").status == 2
    assert run_cli("vm", "set", "otter", "--without", "lifetime").status == 0
    assert app.call("vm.show", {"vm": "otter"})["vm"]["spec"]["capabilities"] == {}


def test_the_service_deletes_a_vm_by_itself(banger_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from banger_lifetime import service

    monkeypatch.setattr(service, "_LOOK", 0.05)
    app = banger_app(builtin=["core", "lifetime"])
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    app.services.database.add_vm(a_vm("otter", VmState.STOPPED, ttl=1))
    app.services.database.add_vm(a_vm("lynx", VmState.STOPPED, ttl=7200))
    deadline = time.monotonic() + 60
    while len(app.services.database.vms()) == 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [vm.name for vm in app.services.database.vms()] == ["lynx"]
    [done] = [each for each in app.call("op.list")["operations"] if each["name"] == "vm.delete"]
    assert done["done"] and done["error"] is None
