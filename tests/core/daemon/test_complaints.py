"""A guest that lies, floods, stalls or hangs up is shown as unhealthy, with what it did, until it behaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from banger.daemon.complaints import Complaints
from banger.daemon.guests import Guests
from banger.daemon.starts import vm_paths
from banger.errors import GuestError
from banger.guest import wire
from banger.guest.wire import Frame, GuestFault, GuestSilence
from banger.model.vm import Vm, VmState
from banger.model.vmm import VmmStatus
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import RunCli
from banger.testing.samples import sample_vm
from tests.core.guest.test_hostile import greeting, peers, read_nonce

Answer = Callable[[Frame], bytes]


def result(frame: Frame) -> bytes:
    return wire.encode(Frame(wire.RESULT, frame.stream, 0, b'{"state":"ready"}'))


def refuse(frame: Frame) -> bytes:
    return wire.encode(Frame(wire.ERROR, frame.stream, 0, b'{"code":"busy"}'))


#: What a guest answers that does not behave, and what is said of it.
MISDEEDS: dict[str, tuple[Answer, str]] = {
    "gigabytes": (
        lambda frame: wire.HEADER.pack(2**32 - 1, frame.stream, wire.DATA, 1, 0),
        "breaks the protocol",
    ),
    "no json": (lambda frame: wire.encode(Frame(wire.RESULT, frame.stream, 0, b"{")), "not JSON"),
    "a stream of its own": (lambda _: wire.encode(Frame(wire.RESULT, 77, 0, b"{}")), "never opened"),
    "data unasked": (lambda frame: wire.encode(Frame(wire.DATA, frame.stream, 1, b"x")), "not open"),
    "another frame": (lambda frame: wire.encode(Frame(wire.ACCEPT, frame.stream, 0, b"{}")), "unexpected"),
    "nothing": (lambda _: b"", "did not answer health"),
}


async def ask(path: Path, answers: Callable[[], Answer], guests: Guests, times: int = 1) -> list[str]:
    """Ask a guest that answers like this for its health; return what went wrong."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting(await read_nonce(reader)))
        parser = wire.Parser(wire.FROM_HOST)
        while data := await reader.read(65536):
            for frame in parser.feed(data):
                if frame.type == wire.OPEN:
                    writer.write(answers()(frame))

    said = []
    async with peers(path, behave):
        for _ in range(times):
            try:
                await guests.request("vm", path, "health", timeout=0.5 if answers() is nothing else 20)
            except GuestError as error:
                said.append(error.message)
        await guests.close()
    return said


nothing = MISDEEDS["nothing"][0]


@pytest.mark.parametrize("misdeed", MISDEEDS)
async def test_what_a_guest_does_wrong_is_remembered(tmp_path: Path, misdeed: str) -> None:
    answer, words = MISDEEDS[misdeed]
    complaints = Kept()
    assert await ask(tmp_path / "guest", lambda: answer, Guests({}, complaints))
    assert words in complaints.kept["vm"]


class Kept(Complaints):
    """Remembers what was taken, also after the VM is down."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, str] = {}

    def take(self, vm_id: str, error: GuestError, now: float | None = None) -> None:
        super().take(vm_id, error, now)
        if (reason := self.reason(vm_id)) is not None:
            self.kept[vm_id] = reason


async def test_a_paused_guest_and_one_that_refuses_are_not_to_blame(tmp_path: Path) -> None:
    complaints = Kept()
    paused = Guests({"vm": VmmStatus("paused", "paused", "banger vm resume")}, complaints)
    assert await ask(tmp_path / "paused", lambda: nothing, paused)
    assert await ask(tmp_path / "refusing", lambda: refuse, Guests({}, complaints)) == ["busy"]
    assert complaints.kept == {}


async def test_silence_ends_with_an_answer(tmp_path: Path) -> None:
    complaints, answers = Complaints(), iter([nothing, result])
    current: list[Answer] = []

    def next_answer() -> Answer:
        return current[0]

    class Turning(Complaints):
        def take(self, vm_id: str, error: GuestError, now: float | None = None) -> None:
            complaints.take(vm_id, error, now)
            current[0] = next(answers, result)

        def behaved(self, vm_id: str, now: float | None = None) -> None:
            assert complaints.reason(vm_id) is not None
            complaints.behaved(vm_id, now)

        def forget(self, vm_id: str) -> None:
            pass

    current.append(next(answers))
    said = await ask(tmp_path / "guest", next_answer, Guests({}, Turning()), times=2)
    assert len(said) == 1 and complaints.reason("vm") is None


def test_a_breach_is_forgiven_after_a_minute_and_silence_at_once() -> None:
    complaints = Complaints()
    complaints.take("a", GuestFault("it lied"), now=100.0)
    complaints.take("a", GuestSilence("it hangs"), now=101.0)
    complaints.behaved("a", now=159.0)
    assert complaints.reason("a") == "it lied"
    complaints.behaved("a", now=160.0)
    assert complaints.reason("a") is None
    complaints.take("a", GuestSilence("it hangs"), now=200.0)
    complaints.behaved("a", now=200.0)
    assert complaints.reason("a") is None
    complaints.take("a", GuestError("a client sent too much"), now=300.0)
    assert complaints.reason("a") is None
    complaints.take("a", GuestFault("it lied"), now=400.0)
    complaints.forget("a")
    assert complaints.reason("a") is None


@pytest.fixture
def unhealthy(lab: Callable[..., BangerApp]) -> tuple[BangerApp, Vm]:
    app = lab()
    vm = sample_vm("otter", state=VmState.RUNNING, spec={"vmm": "paper"})
    app.services.database.add_vm(vm)
    app.services.complaints.take(vm.id, GuestFault("the guest agent lied"))
    return app, vm


def test_list_and_show_say_so(unhealthy: tuple[BangerApp, Vm], run_cli: RunCli) -> None:
    app, vm = unhealthy
    listed = run_cli("vm", "list")
    assert "unhealthy" in listed.stdout and "the guest agent lied" in listed.stderr
    assert "banger vm health otter" in listed.stderr
    assert "the guest agent lied" in run_cli("vm", "show", "otter").stdout
    assert app.call("vm.show", {"vm": "otter"})["unhealthy"] == "the guest agent lied"
    assert app.call("vm.list")["unhealthy"] == {vm.id: "the guest agent lied"}
    app.call("vm.kill", {"vm": "otter"})
    assert app.call("vm.list")["unhealthy"] == {}
    assert app.services.complaints.reason(vm.id) is None


def test_health_names_it_as_a_problem(unhealthy: tuple[BangerApp, Vm]) -> None:
    app, vm = unhealthy
    path = vm_paths(app.services, vm).channel
    path.parent.mkdir(parents=True)

    ended = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting(await read_nonce(reader)))
        parser = wire.Parser(wire.FROM_HOST)
        while data := await reader.read(65536):
            writer.write(b"".join(result(frame) for frame in parser.feed(data) if frame.type == wire.OPEN))

    async def serve() -> None:
        async with peers(path, behave):
            await ended.wait()
            await app.services.guests.drop(vm.id)

    serving = asyncio.run_coroutine_threadsafe(serve(), app.services.loop)
    found = app.call("vm.health", {"vm": "otter"})
    assert not found["healthy"] and found["agent"] == "ready"
    assert found["problems"] == ["within the last minute, the guest agent lied"]
    app.services.loop.call_soon_threadsafe(ended.set)
    serving.result(20)
