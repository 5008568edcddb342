"""The name server: UDP and TCP on 127.0.0.1, for as long as the daemon lives.

Everybody on the host can send to it, so all is bounded: size, rate, time, connections. At rest it waits in the daemon's
event loop and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module

from banger.api import BangerError, NetworkError, RunningVm, ServiceContext, VmState
from banger_dns.answer import QUESTION_LIMIT, answer
from banger_dns.budget import Budget
from banger_dns.guests import HUB, Place, drop_all, read_places, sync_all
from banger_dns.note import Note, find_note, write_note
from banger_dns.route import find_route

ADDRESS = "127.0.0.1"
#: Ports that are tried from the wanted one on.
_TRIES = 64
#: Questions per second, and at once. A resolver that caches asks a few; each costs a fifth of a millisecond.
RATE, BURST = 500.0, 200
#: TCP: connections at a time, questions each, seconds for a question to come or an answer to go.
CONNECTIONS, QUESTIONS, IDLE_SECONDS = 32, 100, 5.0
#: From linux/in.h.
_IP_FREEBIND = 15
#: Seconds that the table of VMs is good for: a flood of questions must not become one of reads.
_FRESH_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Serving:
    """A name server that runs.

    :param probe: a name that only this one answers, with 127.0.0.1.
    """

    port: int
    probe: str


#: What this process serves now; a daemon is one process and has one.
_serving: list[Serving] = []


def find_serving() -> Serving | None:
    """Return what this process serves now."""
    return _serving[0] if _serving else None


def wait_serving(seconds: float) -> Serving | None:
    """Return what this process serves, waiting for a daemon that has only just started; from a worker thread."""
    deadline = time.monotonic() + seconds
    while (serving := find_serving()) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return serving


async def serve(context: ServiceContext) -> None:
    """Answer questions until cancelled."""
    wanted: int = context.settings().port
    note = find_note(context.directory, os.getuid())
    udp, tcp, port = open_sockets(_candidates(wanted, note, _told()))
    with udp, tcp:
        write_note(context.directory, Note(port, wanted))
        serving = Serving(port, f"{secrets.token_hex(6)}._banger.vm")
        server = NameServer(context, serving.probe)
        _serving[:] = [serving]
        context.report(f"{ADDRESS}:{port}")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve(udp, tcp))
                group.create_task(_serve_guests(context, port, group))
        finally:
            _serving.clear()


async def _serve_guests(context: ServiceContext, port: int, group: asyncio.TaskGroup) -> None:
    """Answer guests on bridges too: those that run already, and those that start later; until cancelled."""

    async def listen(place: Place) -> None:
        udp, tcp, _ = open_sockets([port], place.address)
        server = NameServer(context, "", to_guests=True)
        group.create_task(server.serve(udp, tcp))

    HUB.begin(port, listen)
    try:
        running = [context.directory_of(vm) for vm in context.records() if vm.state is VmState.RUNNING]
        await asyncio.to_thread(sync_all, read_places(running), context.privileged)
        await asyncio.Event().wait()
    finally:
        places = set(HUB.places)
        HUB.end()
        await asyncio.to_thread(drop_all, places, context.privileged)


def addresses_of(vms: Iterable[RunningVm], *, to_guests: bool = False) -> dict[str, str]:
    """Return the names that are answered, each with its address; a loopback address is nothing to guests."""
    return {
        vm.name.lower(): vm.address
        for vm in vms
        if vm.address is not None and not (to_guests and vm.address.startswith("127."))
    }


def _told() -> int | None:
    """Return the port that the host's resolver was told of."""
    try:
        route = find_route()
    except BangerError:  # somebody else's file: doctor says so
        return None
    return route.port if route is not None else None


def _candidates(wanted: int, note: Note | None, told: int | None) -> list[int]:
    """Return the ports to try: first the one had before, when the host was told of that very one.

    Not any that it was told of: that may be another user's.
    """
    ports = range(wanted, min(wanted + _TRIES, 65536))
    same = note is not None and note == Note(told or 0, wanted)
    return [note.port, *ports] if note is not None and same else list(ports)


def open_sockets(ports: Iterable[int], address: str = ADDRESS) -> tuple[socket.socket, socket.socket, int]:
    """Return a bound UDP and a listening TCP socket and their port, the first that is free for both.

    :param address: need not be the host's yet.
    """
    tried = list(ports)
    for port in tried:
        with contextlib.ExitStack() as undo:
            udp = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
            tcp = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            for sock in (udp, tcp):
                sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            try:
                tcp.bind((address, port))
                tcp.listen(CONNECTIONS)
                udp.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise NetworkError(
                    f"{address}:{port} cannot be bound: {error.strerror}",
                    hint="set another: [plugins.dns] port",
                ) from error
            undo.pop_all()
            return udp, tcp, port
    raise NetworkError(
        f"the ports {tried[0]} to {tried[-1]} of {address} are taken", hint="set another: [plugins.dns] port"
    )


class NameServer:
    """Answers questions from sockets, whoever asks, within bounds.

    :param to_guests: it is guests that ask.
    """

    def __init__(self, context: ServiceContext, probe: str, *, to_guests: bool = False) -> None:
        self._context, self._probe, self._to_guests = context, probe, to_guests
        self._budget = Budget(RATE, BURST)
        self._table: dict[str, str] = {}
        self._read_at = float("-inf")
        self._imported = False
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Answer both until cancelled, and close them."""
        with udp, tcp:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.serve_udp(udp))
                group.create_task(self.serve_tcp(tcp))

    async def serve_udp(self, sock: socket.socket) -> None:
        """Answer datagrams until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._budget.take()
            try:
                question, peer = await loop.sock_recvfrom(sock, QUESTION_LIMIT + 1)
            except ConnectionError:  # what an answer to somebody who is gone brings back
                continue
            said = await self._answer(question)
            if said is not None:
                with contextlib.suppress(
                    OSError
                ):  # nobody waits for it, or the buffer is full: they ask again
                    sock.sendto(said, peer)

    async def serve_tcp(self, sock: socket.socket) -> None:
        """Answer connections until cancelled."""
        server = await asyncio.start_server(self._accept, sock=sock, limit=QUESTION_LIMIT)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._converse(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what one connection asks (RFC 1035, 4.2.2: two bytes of length before each message)."""
        try:
            for _ in range(QUESTIONS):
                await self._budget.take()
                async with asyncio.timeout(IDLE_SECONDS):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    if size > QUESTION_LIMIT:
                        return
                    said = await self._answer(await reader.readexactly(size))
                    if said is None:
                        return
                    writer.write(len(said).to_bytes(2, "big") + said)
                    await writer.drain()
        except (TimeoutError, EOFError, OSError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, question: bytes) -> bytes | None:
        if not self._imported:
            await asyncio.to_thread(_import)
            self._imported = True
        now = asyncio.get_running_loop().time()
        if now - self._read_at > _FRESH_SECONDS:
            try:
                self._table = addresses_of(self._context.vms(), to_guests=self._to_guests)
            except (
                BangerError
            ):  # the store is out of order, which commands say: no answer is better than a wrong one
                return None
            self._read_at = now
        return answer(question, self._table, self._probe)


def _import() -> None:
    """Import what answers are made with, outside the loop: it takes a while, once."""
    for name in ("flags", "message", "reversename", "rrset"):
        import_module(f"dns.{name}")
