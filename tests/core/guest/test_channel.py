"""The client against a peer that plays a guest, mostly a hostile one."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from banger.daemon.guests import Guests
from banger.errors import GuestError
from banger.guest import pulse, wire
from banger.guest.channel import GuestChannel, GuestRefusal, SessionEnded
from banger.guest.wire import Frame

ANSWER_BYTES = len(wire.hello(bytes(16)))


class FakeGuest:
    """Answers HELLO, then leaves the stream to the test."""

    def __init__(self) -> None:
        self.before = b""
        self.info = b'{"state":"ready","version":"1"}'
        self.version = wire.VERSION
        self.parser = wire.Parser(wire.FROM_HOST)
        self.connected: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = await reader.readexactly(ANSWER_BYTES)
        nonce = greeting[-21:-5]
        body = wire.MAGIC + struct.pack(">I", self.version) + nonce + self.info
        writer.write(self.before + wire.encode(Frame(wire.HELLO, 0, 0, body)))
        await self.connected.put(writer)
        try:
            while await self.reads.wait() and (data := await reader.read(65536)):
                for frame in self.parser.feed(data):
                    await self.frames.put(frame)
        except ConnectionError:
            pass
        writer.close()


Connect = Callable[[], Awaitable[tuple[GuestChannel, asyncio.StreamWriter]]]


@pytest.fixture
def guest() -> FakeGuest:
    return FakeGuest()


@pytest.fixture
async def connect(guest: FakeGuest, tmp_path: Path) -> AsyncIterator[Connect]:
    path = tmp_path / "guest.sock"
    server = await asyncio.start_unix_server(guest.serve, path)
    channels: list[GuestChannel] = []

    async def make() -> tuple[GuestChannel, asyncio.StreamWriter]:
        channels.append(await GuestChannel.connect(path, timeout=5))
        return channels[-1], await guest.connected.get()

    yield make
    for channel in channels:
        await channel.close()
    guest.reads.set()
    server.close()
    await asyncio.sleep(0.02)  # the server's side sees the end


async def accepted(guest: FakeGuest, channel: GuestChannel, writer: asyncio.StreamWriter):  # type: ignore[no-untyped-def]
    opening = asyncio.create_task(channel.open("exec", argv=["x"]))
    opened = await guest.frames.get()
    writer.write(wire.encode(Frame(wire.ACCEPT, opened.stream, 0, b"{}")))
    return await opening


async def test_stale_bytes_before_the_answer_are_dropped(guest: FakeGuest, connect: Connect) -> None:
    guest.before = b"x" * 100_000 + wire.MAGIC + wire.encode(Frame(wire.DATA, 7, 1, b"old"))[:-3]
    channel, _writer = await connect()
    assert channel.info.state == "ready"
    await channel.wait_ready(1)


async def test_another_version_is_refused(guest: FakeGuest, connect: Connect) -> None:
    guest.version = 9
    with pytest.raises(GuestError, match="protocol 9"):
        await connect()


async def test_a_socket_that_never_comes_is_named(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=r"waited 0.1 s for the socket .*nobody.sock"):
        await GuestChannel.connect(tmp_path / "nobody.sock", timeout=0.1)


async def test_a_guest_that_never_answers_is_an_error(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(silent, tmp_path / "s")
    with pytest.raises(GuestError, match="answer to HELLO"):
        await GuestChannel.connect(tmp_path / "s", timeout=0.2)
    server.close()
    await asyncio.sleep(0.02)


async def test_a_failed_boot_is_told(guest: FakeGuest, connect: Connect) -> None:
    guest.info = b'{"state":"booting"}'
    channel, writer = await connect()
    writer.write(wire.encode(Frame(wire.EVENT, 0, 0, b'{"event":"boot-failed","message":"no root"}')))
    with pytest.raises(GuestError, match="no root"):
        await channel.wait_ready(5)


async def test_ready_comes_as_an_event(guest: FakeGuest, connect: Connect) -> None:
    guest.info = b'{"state":"booting"}'
    channel, writer = await connect()
    with pytest.raises(GuestError, match="ready"):
        await channel.wait_ready(0.05)
    writer.write(wire.encode(Frame(wire.EVENT, 0, 0, b'{"event":"ready"}')))
    await channel.wait_ready(5)


async def test_a_lost_connection_fails_every_stream(guest: FakeGuest, connect: Connect) -> None:
    channel, writer = await connect()
    stream = await accepted(guest, channel, writer)
    writer.close()
    with pytest.raises(GuestError, match="closed"):
        await stream.read_frame()
    await channel.closed
    with pytest.raises(GuestError, match="closed"):
        await channel.request("health")


async def test_a_refusal_carries_its_code(guest: FakeGuest, connect: Connect) -> None:
    channel, writer = await connect()
    asking = asyncio.create_task(channel.request("dance"))
    opened = await guest.frames.get()
    writer.write(wire.encode(Frame(wire.ERROR, opened.stream, 0, b'{"code":"unknown-op","message":"no"}')))
    with pytest.raises(GuestRefusal, match="no") as caught:
        await asking
    assert caught.value.code == "unknown-op"


async def test_a_command_may_wait_for_systemd_before_it_is_accepted(
    guest: FakeGuest, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banger.guest.channel._OPEN", 0.05)
    channel, writer = await connect()
    with pytest.raises(GuestError, match=r"did not answer relay within 0\.05 s"):
        await channel.open("relay", port=80)
    starting = asyncio.create_task(channel.open("exec", argv=["systemctl"]))
    while (opened := await guest.frames.get()).type != wire.OPEN or b"systemctl" not in opened.payload:
        pass
    await asyncio.sleep(0.2)
    writer.write(wire.encode(Frame(wire.ACCEPT, opened.stream, 0, b'{"pid":7}')))
    assert (await starting).accept == {"pid": 7}


async def end_session(guest: FakeGuest) -> None:
    writer, opened = await guest.connected.get(), await guest.frames.get()
    writer.write(wire.encode(Frame(wire.ERROR, opened.stream, 0, b'{"code":"no-session"}')))


@pytest.mark.usefixtures("connect")
async def test_a_session_that_had_ended_is_greeted_again_once(guest: FakeGuest, tmp_path: Path) -> None:
    guests = Guests()
    asking = asyncio.create_task(guests.request("vm", tmp_path / "guest.sock", "health", timeout=5))
    await end_session(guest)
    writer, opened = await guest.connected.get(), await guest.frames.get()
    writer.write(wire.encode(Frame(wire.RESULT, opened.stream, 0, b'{"answer":42}')))
    assert await asking == {"answer": 42}
    await guests.close()

    opening = asyncio.create_task(guests.open("vm", tmp_path / "guest.sock", "exec", argv=["x"]))
    await end_session(guest)
    await end_session(guest)
    with pytest.raises(SessionEnded):
        await opening
    await guests.close()


async def test_a_silent_request_is_closed_after_its_time(guest: FakeGuest, connect: Connect) -> None:
    channel, _writer = await connect()
    with pytest.raises(GuestError, match=r"health within 0.1 s"):
        await channel.request("health", timeout=0.1)
    assert [(await guest.frames.get()).type for _ in range(2)] == [wire.OPEN, wire.CLOSE]


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(wire.DATA, 1, 1, bytes(65536))] * 5,
        [Frame(wire.DATA, 1, 1, b"x")] * 4097,
        [Frame(wire.DATA, 1, 3, b"x")],
        [Frame(wire.EOF, 1, 1), Frame(wire.EOF, 1, 1)],
        [Frame(wire.ACCEPT, 1, 0, b"{}")],
        [wire.credit(1, 1)],
    ],
    ids=["window", "tiny", "channel", "eof", "accept", "credit"],
)
async def test_a_guest_that_cheats_loses_its_stream(
    guest: FakeGuest, connect: Connect, frames: list[Frame]
) -> None:
    channel, writer = await connect()
    stream = await accepted(guest, channel, writer)
    writer.write(b"".join(map(wire.encode, frames)))
    assert (await guest.frames.get()).type == wire.CLOSE
    with pytest.raises(GuestError, match="guest agent"):
        while True:
            await stream.read_frame()
    assert not channel.closed.done()


async def test_a_stream_never_opened_ends_the_connection(guest: FakeGuest, connect: Connect) -> None:
    channel, writer = await connect()
    writer.write(wire.encode(Frame(wire.DATA, 99, 1, b"x")))
    assert "never opened" in str(await asyncio.wait_for(channel.closed, 5))


async def test_a_request_too_long_is_refused_here(guest: FakeGuest, connect: Connect) -> None:
    channel, _writer = await connect()
    with pytest.raises(GuestError, match="at most 65536"):
        await channel.request("exec", argv=["x" * 70_000])


async def test_a_client_that_overruns_its_window_is_refused(guest: FakeGuest, connect: Connect) -> None:
    channel, writer = await connect()
    stream = await accepted(guest, channel, writer)
    with pytest.raises(GuestError, match="window"):
        for _ in range(5):
            await stream.send_frame(Frame(wire.DATA, 1, 0, bytes(65536)))


async def stuff(channel: GuestChannel) -> list[asyncio.Task[dict[str, object]]]:
    """Requests that no guest reads, until one has to wait."""
    tasks = [
        asyncio.create_task(channel.request("x", timeout=60, filling="x" * 60_000))
        for _ in range(wire.MAX_STREAMS // 4)
    ]
    await asyncio.sleep(0.05)
    assert channel._writer.transport.get_write_buffer_size() > 1 << 20
    return tasks


async def test_times_hold_with_a_guest_that_stops_reading(guest: FakeGuest, connect: Connect) -> None:
    channel, writer = await connect()
    stream = await accepted(guest, channel, writer)
    guest.reads.clear()
    tasks = await stuff(channel)
    async with asyncio.timeout(20):
        with pytest.raises(GuestError, match=r"within 0.2 s"):
            await channel.request("health", timeout=0.2)
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        await stream.close()
    assert stream.id not in channel._streams
    assert len(channel._streams) == len(tasks) - 1
    async with asyncio.timeout(20):
        await channel.close()
        results = await asyncio.gather(*tasks[1:], return_exceptions=True)
    assert all(isinstance(result, GuestError) for result in results)


async def test_a_guest_that_takes_nothing_loses_its_channel(
    guest: FakeGuest, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banger.guest.channel._STALL", 0.4)
    channel, _writer = await connect()
    guest.reads.clear()
    tasks = await stuff(channel)
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert all("took nothing from its channel for 0.4 s" in str(result) for result in results)
    assert "took nothing" in str(channel.closed.result())


async def test_a_slow_guest_keeps_its_channel(
    guest: FakeGuest, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banger.guest.channel._STALL", 0.4)
    channel, writer = await connect()
    guest.reads.clear()
    tasks = await stuff(channel)
    for _ in range(10):
        await asyncio.sleep(0.1)
        guest.reads.set()
        await asyncio.sleep(0)
        await guest.frames.get()
        guest.reads.clear()
    guest.reads.set()
    await read_rest(guest)
    assert not channel.closed.done()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def read_rest(guest: FakeGuest) -> None:
    """Read until the guest has nothing more to read."""
    with contextlib.suppress(TimeoutError):
        while True:
            await asyncio.wait_for(guest.frames.get(), 0.2)


async def test_requests_given_up_are_forgotten_even_before_they_are_sent(
    guest: FakeGuest, connect: Connect
) -> None:
    channel, _writer = await connect()
    guest.reads.clear()
    tasks = await stuff(channel)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not channel._streams
    guest.reads.set()
    opened = [await guest.frames.get() for _ in range(2 * len(tasks))]
    assert {frame.stream for frame in opened if frame.type == wire.CLOSE} == set(range(1, len(tasks) + 1))


HOSTILE = "no\n\x1b[2Jroot: \ud800 \udcff\u202e\u00a0é" + "x" * 5000


async def test_what_a_guest_says_is_cleaned(guest: FakeGuest, connect: Connect) -> None:
    guest.info = wire.encode_json({"state": "failed", "version": HOSTILE, "commit": [1], "message": HOSTILE})
    channel, writer = await connect()
    assert channel.info.commit == ""
    with pytest.raises(GuestError) as failed:
        await channel.wait_ready(1)
    asking = asyncio.create_task(channel.request("dance"))
    opened = await guest.frames.get()
    problem = wire.encode_json({"code": HOSTILE, "message": HOSTILE})
    writer.write(wire.encode(Frame(wire.ERROR, opened.stream, 0, problem)))
    with pytest.raises(GuestRefusal) as refused:
        await asking
    for text in (channel.info.version, str(failed.value), refused.value.code, str(refused.value)):
        assert text.isprintable()
        assert "no??[2Jroot: ? ???é" in text
        assert len(text.encode("utf-8")) < 2100


async def test_a_refusal_without_words_still_says_something(guest: FakeGuest, connect: Connect) -> None:
    channel, writer = await connect()
    asking = asyncio.create_task(channel.request("dance"))
    opened = await guest.frames.get()
    writer.write(wire.encode(Frame(wire.ERROR, opened.stream, 0, b'{"code":7,"message":null}')))
    with pytest.raises(GuestRefusal, match="failed"):
        await asking


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pulse be felt often."""
    monkeypatch.setattr(pulse, "INTERVAL", 0.01)


async def test_an_agent_that_has_gone_ends_what_waits_for_it(
    guest: FakeGuest, connect: Connect, quick: None
) -> None:
    """Its port stays open: only that it does not answer says so."""
    channel, writer = await connect()
    stream = await accepted(guest, channel, writer)
    with pytest.raises(GuestError, match="agent has not answered") as caught:
        await stream.read_frame()
    assert caught.value.hint and "banger vm restart" in caught.value.hint
    assert (await guest.frames.get()).json() == {"op": "health"}
    assert guest.frames.empty()
    assert (await channel.closed) is caught.value


async def test_a_guest_that_answers_is_asked_again(
    guest: FakeGuest, connect: Connect, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "LIMIT", 10**9)  # however slow this machine is
    channel, writer = await connect()
    stream = await accepted(guest, channel, writer)
    for _ in range(3):
        asked = await guest.frames.get()
        assert asked.json() == {"op": "health"}
        writer.write(wire.encode(Frame(wire.RESULT, asked.stream, 0, b"{}")))
    writer.write(wire.encode(Frame(wire.EXIT, stream.id, 0, b'{"code": 0}')))
    assert (await stream.read_frame()).type == wire.EXIT


async def test_a_paused_guest_may_be_silent(guest: FakeGuest, tmp_path: Path, quick: None) -> None:
    looks, paused = 0, True

    def runs() -> bool:
        nonlocal looks
        looks += 1
        return not paused

    server = await asyncio.start_unix_server(guest.serve, tmp_path / "paused.sock")
    channel = await GuestChannel.connect(tmp_path / "paused.sock", timeout=5, runs=runs)
    stream = await accepted(guest, channel, await guest.connected.get())
    while looks < 3 * pulse.LIMIT:
        await asyncio.sleep(0.01)
    assert not channel.closed.done() and guest.frames.empty()
    paused = False
    with pytest.raises(GuestError, match="agent has not answered"):
        await stream.read_frame()
    server.close()
    await asyncio.sleep(0.02)


async def test_nobody_is_asked_while_nobody_waits(quick: None) -> None:
    class Enough(Exception):
        pass

    class Idle:
        received = looks = 0

        @property
        def awaited(self) -> bool:
            self.looks += 1
            if self.looks > 3 * pulse.LIMIT:
                raise Enough
            return False

        def ping(self) -> None:
            raise AssertionError("nobody waits")

        def lose(self, reason: GuestError) -> None:
            raise AssertionError("nobody waits")

    with pytest.raises(Enough):
        await pulse.watch_pulse(Idle(), lambda: True)
