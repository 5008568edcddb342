"""Services of plugins: what they are given, and that none of them takes the daemon along, however it ends."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest

from banger.daemon import supervisor
from banger.errors import HostError, NotFoundError
from banger.model.service import RunningVm, Service
from banger.model.vm import VmState
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from banger.testing.pytest_plugin import RunCli
from banger.testing.samples import sample_vm

MakeLab = Callable[..., BangerApp]
Run = Callable[[Any], Awaitable[None]]


def plugin(run: Any, name: str = "sea") -> ModuleType:
    def banger_register_services() -> list[Service]:
        return [Service("tide", "high and low", run)]

    return make_plugin(name, banger_register_services)


async def raise_error(_: Any) -> None:
    raise HostError("the harbour\n is closed", hint="wait")


async def raise_group(_: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(raise_error(None))


async def divide(_: Any) -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError("by nothing")


async def leave(_: Any) -> None:
    sys.exit(3)


async def interrupt(_: Any) -> None:
    raise KeyboardInterrupt


async def cancel_itself(_: Any) -> None:
    raise asyncio.CancelledError


async def end(context: Any) -> None:
    context.report("  done\x00 \n for\ttoday")


def no_coroutine(_: Any) -> None: ...


def status(app: BangerApp) -> tuple[str, str]:
    [line] = app.call("daemon.status")["services"]
    return line["state"], line["detail"]


@pytest.mark.parametrize(
    ("run", "state", "detail"),
    [
        (raise_error, "failed", "the harbour is closed"),
        (raise_group, "failed", "the harbour is closed"),
        (divide, "failed", "ZeroDivisionError: by nothing"),
        (leave, "failed", "SystemExit: 3"),
        (interrupt, "failed", "KeyboardInterrupt:"),
        (cancel_itself, "failed", "it cancelled itself"),
        (no_coroutine, "failed", "TypeError: its run is not an async function"),
        (end, "ended", "done\x00 for today"),
    ],
)
def test_the_end_of_a_service_is_reported_and_the_daemon_goes_on(
    lab: MakeLab, run: Any, state: str, detail: str
) -> None:
    app = lab(plugin(run))
    for _ in range(100):
        if status(app)[0] != "running":
            break
    assert status(app) == (state, detail)
    [line] = [line for line in app.call("doctor")["checks"] if line["name"] == "service tide"]
    assert (line["status"], line["plugin"], line["detail"]) == ("WARN", "sea", f"{state}: {detail}")
    assert "banger daemon logs" in line["hint"]
    assert app.call("vm.list")["vms"] == []


def test_daemon_status_shows_services_in_clean_text(lab: MakeLab, run_cli: RunCli) -> None:
    async def serve(context: Any) -> None:
        context.report("\x1b[31mup " + "x" * 500)
        await asyncio.Event().wait()

    lab(plugin(serve))
    shown = run_cli("daemon", "status")
    assert shown.status == 0, shown.stderr
    [line] = [line for line in shown.stdout.splitlines() if line.startswith("service tide")]
    assert "?[31mup xxx" in line and "\x1b" not in line and len(line) < 250


def test_daemon_status_shows_a_service_that_failed(lab: MakeLab, run_cli: RunCli) -> None:
    app = lab(plugin(raise_error))
    assert status(app)[0] == "failed"
    assert "failed: the harbour is closed" in run_cli("daemon", "status").stdout


def test_a_service_sees_running_vms_and_has_a_directory_of_its_own(lab: MakeLab) -> None:
    asked, seen = threading.Event(), []

    async def serve(context: Any) -> None:
        ask = asyncio.Event()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, asked.wait)
        seen.extend(context.vms())
        (context.directory / "file").write_text("mine")
        context.report("looked")
        await ask.wait()

    app = lab(plugin(serve))
    up = sample_vm("otter", state=VmState.RUNNING, address="127.64.3.7")
    app.services.database.add_vm(up)
    app.services.database.add_vm(sample_vm("lynx", state=VmState.STOPPED, address="127.64.3.8"))
    asked.set()
    for _ in range(200):
        if status(app)[1] == "looked":
            break
    assert seen == [RunningVm(up.id, "otter", "running", "127.64.3.7")]
    folder = app.paths.state / "plugins" / "sea"
    assert (folder / "file").read_text() == "mine"
    assert folder.stat().st_mode & 0o777 == 0o700
    app.services.database.delete_vm(up.id)


def test_settings_of_a_plugin_without_any_are_refused(lab: MakeLab) -> None:
    async def serve(context: Any) -> None:
        context.settings()

    app = lab(plugin(serve))
    assert status(app) == ("failed", "plugin 'sea' declares no settings")


def test_two_services_of_one_name_take_the_third_party_out(lab: MakeLab) -> None:
    app = lab(plugin(end), plugin(end, "shore"))
    failed = app.services.plugins.failed["shore"]
    assert "service 'tide' is declared by plugin 'sea' and by plugin 'shore'" in failed.reason


def test_what_is_no_service_takes_its_plugin_out(lab: MakeLab) -> None:
    app = lab(plugin("serve"))
    reason = app.services.plugins.failed["sea"].reason
    assert reason == "banger_register_services: Service 'tide': run is of type str, not a function"
    assert app.call("daemon.status")["services"] == []


def test_unknown_service(lab: MakeLab) -> None:
    with pytest.raises(NotFoundError, match="there is no service 'tide'"):
        lab().services.supervisor.status("tide")


def test_services_let_go_when_the_daemon_ends(lab: MakeLab) -> None:
    events: list[str] = []

    async def serve(_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            events.append("let go")

    app = lab(plugin(serve))
    assert status(app)[0] == "running"
    app.call("daemon.stop")
    assert app.join() and events == ["let go"]
    assert [status.state for status in app.services.supervisor.statuses()] == ["ended"]


async def test_a_service_that_does_not_end_is_counted_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "END_SECONDS", 0.05)
    released = asyncio.Event()

    async def clutch(_: Any) -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    services: Any = FakeServices(Service("tide", "", clutch))
    supervised = supervisor.Supervisor(services)
    supervised.start()
    await asyncio.sleep(0)
    assert await supervised.close() == 1
    released.set()
    assert await supervised.close() == 0
    assert supervised.status("tide").state == "ended"


class FakeServices:
    """As much of the daemon's parts as starting a service needs."""

    def __init__(self, service: Service) -> None:
        from banger.registry import Registry

        table: Registry[Service] = Registry("service")
        table.add(service, "sea")
        self.registries = type("Registries", (), {"services": table})()
