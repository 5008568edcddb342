"""The name server on real sockets: what it answers, and what clients that misbehave get out of it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from banger.errors import ConflictError, NetworkError
from banger_dns import server
from banger_dns.answer import QUESTION_LIMIT
from banger_dns.budget import Budget
from banger_dns.note import Note, find_note, write_note
from banger_dns.route import Route
from tests.plugins.dns.name_server import Context, question, running, values


async def ask_udp(port: int, message: bytes, source: socket.socket | None = None) -> bytes:
    """Send one datagram and return the answer to it."""
    loop = asyncio.get_running_loop()
    with source or socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((server.ADDRESS, port))
        await loop.sock_sendall(sock, message)
        async with asyncio.timeout(30):
            return await loop.sock_recv(sock, 4096)


async def ask_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> bytes:
    writer.write(len(message).to_bytes(2, "big") + message)
    async with asyncio.timeout(30):
        size = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(size)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Tell, with patience, whether the other side ended the connection without a word."""
    try:
        async with asyncio.timeout(30):
            return await reader.read(1) == b""
    except ConnectionError:
        return True


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path)


@pytest.fixture
def taken(context: Context) -> Iterator[int]:
    """A port that somebody else has, as UDP only."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((server.ADDRESS, 0))
        yield other.getsockname()[1]


async def test_udp_and_tcp_answer(context: Context) -> None:
    async with running(context) as serving:
        assert context.reports == [f"127.0.0.1:{serving.port}"]
        assert values(await ask_udp(serving.port, question())) == ["127.64.0.7"]
        reader, writer = await asyncio.open_connection(server.ADDRESS, serving.port)
        assert values(await ask_tcp(reader, writer, question("OTTER.vm"))) == ["127.64.0.7"]
        assert values(await ask_tcp(reader, writer, question("otter.vm", "AAAA"))) == []
        writer.close()
        for name, code in (("lynx.vm", "NXDOMAIN"), ("example.org", "REFUSED")):
            said = dns.message.from_wire(await ask_udp(serving.port, question(name)))
            assert dns.rcode.to_text(said.rcode()) == code
        assert values(await ask_udp(serving.port, question(serving.probe))) == ["127.0.0.1"]
        assert values(await ask_udp(serving.port, question("7.0.64.127.in-addr.arpa", "PTR"))) == [
            "otter.vm."
        ]


async def test_names_follow_the_vms(context: Context) -> None:
    async with running(context) as serving:
        assert values(await ask_udp(serving.port, question())) == ["127.64.0.7"]
        context.table = []
        await asyncio.sleep(server._FRESH_SECONDS * 2)
        assert values(await ask_udp(serving.port, question())) == []


async def test_only_loopback_is_bound(context: Context) -> None:
    async with running(context) as serving:
        listening = Path("/proc/self/net/tcp").read_text() + Path("/proc/self/net/udp").read_text()
        rows = [line.split() for line in listening.splitlines()]
        bound = {row[1] for row in rows if row[3] in ("0A", "07")}  # TCP that listens, UDP that is bound
        assert f"0100007F:{serving.port:04X}" in bound and f"00000000:{serving.port:04X}" not in bound


async def test_a_store_out_of_order_ends_nothing(context: Context) -> None:
    async with running(context) as serving:
        context.broken = True
        reader, writer = await asyncio.open_connection(server.ADDRESS, serving.port)
        writer.write(len(question()).to_bytes(2, "big") + question())
        assert await is_closed(reader)
        writer.close()
        context.broken = False
        assert values(await ask_udp(serving.port, question())) == ["127.64.0.7"]


@pytest.mark.parametrize("packet", [b"", b"x", bytes(12), b"\xff" * 600, bytes(60_000), question()[:-1]])
async def test_rubbish_by_udp_is_survived(context: Context, packet: bytes) -> None:
    async with running(context) as serving:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rude:
            rude.sendto(packet, (server.ADDRESS, serving.port))
        assert values(await ask_udp(serving.port, question())) == ["127.64.0.7"]


async def test_after_a_flood_everybody_is_answered_again(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RATE", 400.0)
    monkeypatch.setattr(server, "BURST", 20)
    async with running(context) as serving:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rude:
            for _ in range(200):
                rude.sendto(question(), (server.ADDRESS, serving.port))
        said = b""
        while not said:  # the kernel may have dropped it while the flood was dealt with
            try:
                async with asyncio.timeout(20):
                    said = await ask_udp(serving.port, question())
            except TimeoutError:
                continue
        assert values(said) == ["127.64.0.7"]


@pytest.mark.parametrize(
    "sent", [b"", b"\x00", b"\x00\x20half", b"\xff\xff" + bytes(2000), b"\x00\x00", b"\x00\x03abc"]
)
async def test_tcp_clients_that_misbehave_are_dropped(
    context: Context, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)
    async with running(context) as serving:
        reader, writer = await asyncio.open_connection(server.ADDRESS, serving.port)
        writer.write(sent)
        assert await is_closed(reader)
        writer.close()
        assert values(await ask_udp(serving.port, question())) == ["127.64.0.7"]


async def test_one_connection_asks_so_many_questions(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "QUESTIONS", 3)
    async with running(context) as serving:
        reader, writer = await asyncio.open_connection(server.ADDRESS, serving.port)
        for _ in range(3):
            assert values(await ask_tcp(reader, writer, question())) == ["127.64.0.7"]
        assert await is_closed(reader)
        writer.close()


async def test_there_are_so_many_connections_and_no_more(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 2)
    async with running(context) as serving:
        kept = [await asyncio.open_connection(server.ADDRESS, serving.port) for _ in range(2)]
        for reader, writer in kept:
            assert values(await ask_tcp(reader, writer, question())) == ["127.64.0.7"]
        reader, writer = await asyncio.open_connection(server.ADDRESS, serving.port)
        assert await is_closed(reader), "one too many"
        writer.close()
        for _, writer in kept:
            writer.close()
        answered: list[str] = []
        while not answered:  # until the server has noticed that they went
            reader, writer = await asyncio.open_connection(server.ADDRESS, serving.port)
            try:
                answered = values(await ask_tcp(reader, writer, question()))
            except (EOFError, ConnectionError):
                await asyncio.sleep(0.01)
            writer.close()
        assert answered == ["127.64.0.7"]


async def test_connections_end_with_the_server(context: Context) -> None:
    async with running(context) as serving:
        reader, writer = await asyncio.open_connection(server.ADDRESS, serving.port)
        assert values(await ask_tcp(reader, writer, question())) == ["127.64.0.7"]
    assert await is_closed(reader)
    writer.close()


async def test_a_taken_port_gives_the_next_which_is_noted(tmp_path: Path, taken: int) -> None:
    async with running(Context(tmp_path, taken)) as serving:
        assert taken < serving.port <= taken + server._TRIES
        assert find_note(tmp_path, os.getuid()) == Note(serving.port, taken)


async def test_a_port_that_the_host_was_told_of_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((server.ADDRESS, 0)) as free:
        port = free.getsockname()[1]
    write_note(tmp_path, Note(port, 42300))
    monkeypatch.setattr(server, "find_route", lambda: Route(Path("/etc/x"), port))
    async with running(Context(tmp_path)) as serving:
        assert serving.port == port


@pytest.mark.parametrize(
    ("note", "told", "first"),
    [
        (Note(42075, 42069), 42075, 42075),
        (Note(42075, 42069), None, 42069),
        (Note(42075, 42069), 42069, 42069),
        (Note(42075, 50000), 42075, 42069),
        (None, 42075, 42069),
    ],
)
def test_order_of_ports(note: Note | None, told: int | None, first: int) -> None:
    ports = server._candidates(42069, note, told)
    assert ports[0] == first and set(range(42069, 42133)) <= set(ports)


def test_a_route_that_cannot_be_read_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Route:
        raise ConflictError("/etc/x cannot be read")

    monkeypatch.setattr(server, "find_route", refuse)
    assert server._told() is None


def test_ports_that_are_all_taken(taken: int) -> None:
    with pytest.raises(NetworkError, match=f"the ports {taken} to {taken} of 127.0.0.1 are taken"):
        server.open_sockets([taken])


def test_the_last_ports_are_the_last() -> None:
    assert server._candidates(65535, None, None) == [65535]


async def test_nothing_is_imported_before_the_first_question(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports: list[int] = []
    monkeypatch.setattr(server, "_import", lambda: imports.append(1))
    async with running(context) as serving:
        assert (imports, context.reads) == ([], 0)
        for _ in range(2):
            await ask_udp(serving.port, question())
        assert imports == [1]


def test_budget() -> None:
    now = [100.0]
    budget = Budget(10.0, 3, clock=lambda: now[0])
    assert [budget.reserve() for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])
    now[0] += 0.5
    assert [budget.reserve() for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])
    now[0] += 1000
    assert [budget.reserve() for _ in range(4)] == pytest.approx([0, 0, 0, 0.1]), (
        "no more than a burst is saved"
    )


def test_the_bounds_are_sane() -> None:
    assert QUESTION_LIMIT <= 512 and server.CONNECTIONS <= 64 and server.IDLE_SECONDS <= 10
