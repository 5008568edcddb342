"""The daemon's end of the agent's channel: one connection, many streams."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from banger.errors import GuestError
from banger.guest import wire
from banger.guest.pulse import watch_pulse
from banger.guest.stream import GuestRefusal, GuestStream, SessionEnded
from banger.guest.wire import Frame, GuestFault, GuestSilence

__all__ = ["AgentInfo", "GuestChannel", "GuestRefusal", "GuestStream", "SessionEnded"]

_READ = 256 * 1024
_RETRY = 0.02
#: A guest that takes nothing for this long, while bytes wait for it, loses its channel.
_STALL = 5.0
#: Seconds for a stream to be accepted; and how long the agent lets a command that needs systemd wait until that listens
#: (agent/exec.c, BUS_TIMEOUT_MS).
_OPEN, _SYSTEM = 10.0, 60.0


@dataclass(frozen=True)
class AgentInfo:
    """What the agent said about itself in its answer to HELLO."""

    version: str
    commit: str
    state: str
    boot_id: str
    message: str | None = None

    @classmethod
    def from_json(cls, info: dict[str, Any]) -> AgentInfo:
        def text(key: str) -> str:
            return wire.clean_text(info.get(key), 1000)

        return cls(text("version"), text("commit"), text("state"), text("boot_id"), text("message") or None)


class GuestChannel:
    """A connection to the agent of one guest. Make it with :meth:`connect`.

    When it is lost, :attr:`closed` is done (its result is the :class:`GuestError`) and every stream fails with it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._streams: dict[int, GuestStream] = {}
        self._next_id = 1
        self._parser = wire.Parser()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pump: asyncio.Task[None] | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._pinged: GuestStream | None = None
        self.received = 0
        self._written = self._taken = 0
        self._taken_at = 0.0
        self.info = AgentInfo("", "", "", "")
        #: Told of what goes wrong, whoever's fault it is.
        self.blame: Callable[[GuestError], object] = str
        self.closed: asyncio.Future[GuestError] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(
        cls, path: str | os.PathLike[str], *, timeout: float, runs: Callable[[], bool] = lambda: True
    ) -> GuestChannel:
        """Connect to the VMM's socket and greet the agent, retrying until ``timeout`` seconds have passed.

        :param runs: whether the guest's processors go: one that is paused may be silent for as long as it likes.
        """
        waiting = f"the socket {os.fspath(path)}"
        channel: GuestChannel | None = None
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await _connect_unix(path)
                channel = cls(reader, writer)
                waiting = "the guest agent's answer to HELLO"
                await channel._greet()
                channel._pulse = asyncio.get_running_loop().create_task(watch_pulse(channel, runs))
        except TimeoutError:
            if channel:
                channel._abort()
            raise GuestSilence(
                f"waited {timeout:g} s for {waiting}",
                hint="the guest may hang in its boot: look at its console log",
            ) from None
        except BaseException:
            if channel:
                channel._abort()
            raise
        return channel

    async def _greet(self) -> None:
        nonce = secrets.token_bytes(wire.NONCE_LENGTH)
        self._writer.write(wire.hello(nonce))
        finder = wire.HelloFinder(nonce)
        found = None
        while found is None:
            try:
                data = await self._reader.read(_READ)
            except OSError as error:
                raise GuestError(f"the guest's channel broke while it was greeted: {error}") from error
            if not data:
                raise GuestSilence("the guest's channel was closed before the agent answered HELLO")
            found = finder.feed(data)
        info, version, rest = found
        if version != wire.VERSION:
            raise GuestError(
                f"the guest agent speaks protocol {version}, this banger speaks {wire.VERSION}",
                hint="restart the VM so that it boots with the agent of this version",
            )
        self.info = AgentInfo.from_json(info)
        if self.info.state == "ready":
            self._ready.set_result(None)
        elif self.info.state == "failed":
            self._fail_boot(self.info.message)
        self._pump = asyncio.get_running_loop().create_task(self._run(rest))

    async def _run(self, rest: bytes) -> None:
        reason = GuestError("the guest's channel was closed")
        try:
            data = rest
            while True:
                for frame in self._parser.feed(data):
                    self.received += 1
                    self._dispatch(frame)
                data = await self._reader.read(_READ)
                if not data:
                    break
        except GuestError as error:
            reason = error
        except OSError as error:
            reason = GuestError(f"the guest's channel broke: {error}")
        except asyncio.CancelledError:
            pass
        self._lose(reason)

    @property
    def awaited(self) -> bool:
        """Whether a stream is open, but that of a sign of life."""
        return any(stream is not self._pinged for stream in self._streams.values())

    def ping(self) -> None:
        """Ask for a sign of life, whose coming counts and whose words do not."""
        if self._pinged is None or self._pinged.id not in self._streams:
            self._pinged = self._start("health", {})

    def lose(self, reason: GuestError) -> None:
        """Give the channel up; every stream fails with the reason."""
        self._lose(reason)

    def _lose(self, reason: GuestError) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
        self._writer.transport.abort()
        for stream in list(self._streams.values()):
            stream._fail(reason)
        self._streams.clear()
        if not self.closed.done():
            self.closed.set_result(reason)
            self.blame(reason)
        if not self._ready.done():
            self._ready.set_exception(reason)
            self._ready.exception()

    def _fail_boot(self, message: str | None) -> None:
        if not self._ready.done():
            self._ready.set_exception(GuestError(f"the guest did not boot: {message or 'no reason given'}"))
            self._ready.exception()  # it may be asked for late, or never

    def _dispatch(self, frame: Frame) -> None:
        if frame.type == wire.EVENT:
            self._take_event(frame.json())
            return
        stream = self._streams.get(frame.stream)
        if stream is None:
            if frame.stream >= self._next_id:
                raise GuestFault(f"the guest agent spoke on stream {frame.stream}, which was never opened")
            return  # closed by us a moment ago
        try:
            stream._take(frame)
        except GuestError as error:
            self.blame(error)
            stream._abandon(error)
            return
        if frame.type in wire.FINAL:
            self._forget(stream.id)

    def _take_event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "ready" and not self._ready.done():
            self._ready.set_result(None)
        elif event.get("event") == "boot-failed":
            self._fail_boot(wire.clean_text(event.get("message"), 1000))

    def _forget(self, stream: int) -> None:
        self._streams.pop(stream, None)

    def _post(self, frame: Frame) -> None:
        """Put a frame behind what waits to be sent, without waiting; see :meth:`_drain`."""
        self._check_open()
        data = wire.encode(frame)
        self._writer.write(data)
        self._written += len(data)

    def _check_open(self) -> None:
        """Raise when the channel is lost, which it is once the guest has taken nothing for too long."""
        if not self.closed.done():
            now, waiting = time.monotonic(), self._writer.transport.get_write_buffer_size()
            taken = self._written - waiting
            if not waiting or taken != self._taken:
                self._taken, self._taken_at = taken, now
            elif now - self._taken_at >= _STALL:
                self._lose(GuestSilence(f"the guest took nothing from its channel for {_STALL:g} s"))
        if self.closed.done():
            raise self.closed.result()

    async def _drain(self) -> None:
        """Wait until the guest has taken enough of what was posted."""
        while True:
            self._check_open()
            try:
                async with asyncio.timeout(_STALL / 4):
                    await self._writer.drain()
                return
            except TimeoutError:
                continue
            except OSError as error:
                raise GuestError(f"the guest's channel broke: {error}") from error

    async def _write(self, frame: Frame) -> None:
        self._post(frame)
        await self._drain()

    def _start(self, op: str, fields: dict[str, Any]) -> GuestStream:
        self._check_open()
        if len(self._streams) >= wire.MAX_STREAMS:
            raise GuestError(f"this guest has {wire.MAX_STREAMS} open streams already")
        payload = wire.encode_json({"op": op, **fields})
        if len(payload) > wire.MAX_PAYLOAD:
            raise GuestError(
                f"the {op} request is {len(payload)} bytes long; at most {wire.MAX_PAYLOAD} fit",
                hint="pass long data through standard input or a file",
            )
        stream = GuestStream(self, self._next_id, op)
        self._post(Frame(wire.OPEN, stream.id, 0, payload))
        self._next_id += 1
        self._streams[stream.id] = stream
        return stream

    async def _answer(
        self, op: str, kind: int, timeout: float, fields: dict[str, Any]
    ) -> tuple[GuestStream, Frame]:
        stream = self._start(op, fields)
        error: GuestError
        try:
            async with asyncio.timeout(timeout):
                await self._drain()
                frame = await stream.read_frame()
        except TimeoutError:
            error = GuestSilence(
                f"the guest agent did not answer {op} within {timeout:g} s",
                hint="the guest is very busy, or its agent was ended: look at its console log, or start it anew",
            )
            stream._abandon(error)
            raise error from None
        except BaseException:
            stream._abandon(GuestError(f"the {op} request was given up"))
            raise
        if frame.type == wire.ERROR:
            raise self._refusal(frame)
        if frame.type != kind:
            error = GuestFault(f"the guest agent answered {op} with an unexpected {frame.name} frame")
            stream._abandon(error)
            raise error
        return stream, frame

    def _refusal(self, frame: Frame) -> GuestError:
        refusal = GuestRefusal.from_frame(frame)
        if refusal.code != "no-session":
            return refusal
        error = SessionEnded("the guest agent had ended this session")
        self._lose(error)
        return error

    async def request(self, op: str, *, timeout: float = 10, **fields: Any) -> dict[str, Any]:
        """Ask once, get one JSON object; a refusal is a :class:`GuestRefusal` with the agent's code.

        :raises SessionEnded: nothing was done; a new channel may be asked.
        """
        _stream, frame = await self._answer(op, wire.RESULT, timeout, fields)
        return frame.json()

    async def open(self, op: str, *, timeout: float | None = None, **fields: Any) -> GuestStream:
        """Open a stream; returns once the agent has accepted it.

        :param timeout: seconds; None means ten, and for a command what the agent lets it wait for systemd besides.

        :raises SessionEnded: nothing was done; a new channel may be asked.
        """
        patience = timeout if timeout is not None else _OPEN + (_SYSTEM if op == "exec" else 0)
        stream, frame = await self._answer(op, wire.ACCEPT, patience, fields)
        try:
            stream.accept = frame.json()
        except GuestError as error:
            stream._abandon(error)
            raise
        return stream

    async def wait_ready(self, timeout: float) -> None:
        """Wait until the guest has booted as far as commands run; raises the text of a failed boot."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._ready)
        except TimeoutError:
            raise GuestError(f"waited {timeout:g} s for the guest to report that it is ready") from None

    def _abort(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
        self._writer.transport.abort()

    async def close(self) -> None:
        """Let go of the connection; the agent ends what runs on it, except what was started detached."""
        if self._pump is not None and not self._pump.done():
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._lose(GuestError("the guest's channel was closed"))


async def _connect_unix(path: str | os.PathLike[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a socket of a VMM's. One that is a link leads to a vsock device, which is told the agent's port."""
    while True:
        try:
            reader, writer = await asyncio.open_unix_connection(os.fspath(path), limit=_READ)
            if not _is_link(path) or await _ask_for_port(reader, writer):
                return reader, writer
            writer.transport.abort()  # nobody listens there yet
            await asyncio.sleep(_RETRY)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            await asyncio.sleep(_RETRY)
        except OSError as error:
            raise GuestError(f"cannot connect to the guest's socket {os.fspath(path)}: {error}") from error


def _is_link(path: str | os.PathLike[str]) -> bool:
    return os.path.islink(path)


async def _ask_for_port(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    try:
        writer.write(b"CONNECT %d\n" % wire.VSOCK_PORT)
        return (await reader.readuntil(b"\n")).startswith(b"OK ")
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    except asyncio.CancelledError:
        writer.transport.abort()
        raise
