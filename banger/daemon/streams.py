"""Interactive streams: ``stream.sock``, one-use tokens, and a relay that never looks into a payload.

A client sends ``BANGER/1 <token>\\n`` and from then on speaks the agent's frame protocol, always as stream 1. Credits
stay end to end: what the daemon holds for one stream is bounded by the window the client granted.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from banger.daemon.context import OperationRecord, current_op
from banger.errors import BangerError, UsageError
from banger.guest import wire

if TYPE_CHECKING:
    from banger.daemon.services import Services

log = logging.getLogger(__name__)

#: Seconds a token is good for.
TOKEN_SECONDS = 10.0
#: Tokens that may wait to be redeemed, all clients together.
_TOKENS = 256
#: The greeting's longest form, bytes.
_GREETING_LIMIT = 128
#: The client's stream id.
CLIENT_STREAM = 1


class RemoteStream(Protocol):
    """The far end of a stream: the agent's, or the like of it. Frames come and go as they are."""

    @property
    def accept(self) -> Mapping[str, Any]:
        """What the far end said when it took the stream."""

    async def read_frame(self) -> wire.Frame:
        """Return what comes next."""

    async def send_frame(self, frame: wire.Frame) -> None:
        """Take what the client sent."""

    async def close(self) -> None:
        """End the stream; idempotent."""


Opener = Callable[[], Awaitable[RemoteStream]]


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a token stands for. ``open`` makes the far end when the client has come."""

    name: str
    open: Opener
    deadline: float
    vm_id: str


class Streams:
    """Tokens waiting and streams open. Lives on the daemon's loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._tickets: dict[str, Ticket] = {}
        #: VM id -> open streams, and when the last one began or ended, by the clock that runs on while the host sleeps.
        self.open: Counter[str] = Counter()
        self.used: dict[str, float] = {}

    def issue_request(self, vm_id: str, socket: Any, name: str, request: dict[str, Any]) -> str:
        """Return a new token for a stream of a guest's agent."""
        fields = dict(request)
        guests = self._services.guests
        return self.issue(name, vm_id, lambda: guests.open(vm_id, socket, fields.pop("op"), **fields))

    def issue(self, name: str, vm_id: str, open_remote: Opener) -> str:
        """Return a new token for one stream of a VM; the oldest waiting one falls out when there are too many."""
        now = time.monotonic()
        self._tickets = {token: ticket for token, ticket in self._tickets.items() if ticket.deadline > now}
        while len(self._tickets) >= _TOKENS:
            del self._tickets[next(iter(self._tickets))]
        token = secrets.token_urlsafe(24)
        self._tickets[token] = Ticket(name, open_remote, now + TOKEN_SECONDS, vm_id)
        return token

    def waiting(self) -> int:
        """Return how many tokens are still good: each may become a stream any moment."""
        now = time.monotonic()
        return sum(ticket.deadline > now for ticket in self._tickets.values())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of ``stream.sock``."""
        record: OperationRecord | None = None
        try:
            ticket = await self._redeem(reader)
            record = self._services.operations.begin(ticket.name)
            current_op.set(record.id)
            with self._counted(ticket.vm_id):
                await self._relay(ticket, reader, writer)
            record.finish(result={})
        except BangerError as error:
            error.op_id = record.id if record else None
            problem = {
                **error.to_problem(),
                "code": getattr(error, "code", error.type),
                "message": error.message,
            }
            if record is not None:
                record.finish(error=problem)
            _send_error(writer, problem)
        except (ConnectionError, asyncio.IncompleteReadError):
            if record is not None:
                record.finish(error={"detail": "the client went away"})
        except Exception as error:
            log.exception("a stream failed")
            if record is not None:
                record.finish(error={"detail": str(error)})
        finally:
            writer.close()

    @contextmanager
    def _counted(self, vm_id: str) -> Iterator[None]:
        self.open[vm_id] += 1
        self.used[vm_id] = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            yield
        finally:
            self.open[vm_id] -= 1
            self.used[vm_id] = time.clock_gettime(time.CLOCK_BOOTTIME)

    async def _redeem(self, reader: asyncio.StreamReader) -> Ticket:
        try:
            line = await asyncio.wait_for(reader.readuntil(b"\n"), TOKEN_SECONDS)
        except (TimeoutError, asyncio.LimitOverrunError) as error:
            raise UsageError("no token came") from error
        magic, _, token = line[:_GREETING_LIMIT].decode("ascii", "replace").strip().partition(" ")
        ticket = self._tickets.pop(token, None)
        if magic != "BANGER/1" or ticket is None or ticket.deadline < time.monotonic():
            raise UsageError("the stream's token is unknown, used or too old", hint="run the command again")
        return ticket

    async def _relay(
        self, ticket: Ticket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        stream = await ticket.open()
        writer.write(wire.encode(wire.Frame(wire.ACCEPT, CLIENT_STREAM, 0, wire.encode_json(stream.accept))))
        up = asyncio.create_task(_client_to_guest(reader, stream))
        down = asyncio.create_task(_guest_to_client(stream, writer))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            ended = down.done() and not isinstance(down.exception(), ConnectionError)
            if not ended:
                log.info("the client of %s went away", ticket.name)
            if ended:
                down.result()
            elif up.done():
                up.result()
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            await stream.close()


async def _client_to_guest(reader: asyncio.StreamReader, stream: RemoteStream) -> None:
    """Pass frames on until the client ends."""
    parser = wire.Parser(wire.FROM_HOST - {wire.OPEN})
    while data := await reader.read(65536):
        for frame in parser.feed(data):
            if frame.stream != CLIENT_STREAM:
                raise UsageError(f"the client spoke on stream {frame.stream}; it has {CLIENT_STREAM} only")
            await stream.send_frame(frame)


async def _guest_to_client(stream: RemoteStream, writer: asyncio.StreamWriter) -> None:
    while True:
        frame = await stream.read_frame()
        writer.write(wire.encode(frame._replace(stream=CLIENT_STREAM)))
        await writer.drain()
        if frame.type in wire.FINAL:
            return


def _send_error(writer: asyncio.StreamWriter, problem: dict[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(wire.encode(wire.Frame(wire.ERROR, CLIENT_STREAM, 0, wire.encode_json(problem))))
