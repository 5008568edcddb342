"""A socket of the guest's whose connections are the host's to answer: the real agent on this host."""

from __future__ import annotations

import asyncio
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.guest import wire
from banger.guest.channel import GuestChannel, GuestRefusal, GuestStream


@pytest.fixture
def path() -> Iterator[Path]:
    """A short path: sockets need one."""
    with tempfile.TemporaryDirectory(prefix="listen-", dir="/tmp") as folder:
        yield Path(folder, "s")


async def take(stream: GuestStream, seen: bytearray) -> tuple[int, bytes]:
    """Return the next message."""
    while len(seen) < 8 or len(seen) < 8 + int.from_bytes(seen[4:8], "big"):
        frame = await stream.read_frame()
        if frame.type == wire.DATA:
            seen += frame.payload
            await stream.grant(frame)
    size = int.from_bytes(seen[4:8], "big")
    number, data = int.from_bytes(seen[:4], "big"), bytes(seen[8 : 8 + size])
    del seen[: 8 + size]
    return number, data


def message(number: int, data: bytes) -> bytes:
    return number.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data


async def until_gone(path: Path) -> None:
    async with asyncio.timeout(20):
        while path.exists():
            await asyncio.sleep(0.01)


async def test_connections_are_told_apart(channel: GuestChannel, path: Path) -> None:
    stream, seen = await channel.open("listen", path=str(path)), bytearray()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    one_reader, one = await asyncio.open_unix_connection(path)
    one.write(b"hello")
    first, data = await take(stream, seen)
    assert data == b"hello"
    two_reader, two = await asyncio.open_unix_connection(path)
    two.write(b"you")
    second, data = await take(stream, seen)
    assert data == b"you" and second != first
    await stream.send_data(message(second, b"to two") + message(first, b"to one") + message(99, b"to nobody"))
    assert await one_reader.readexactly(6) == b"to one"
    assert await two_reader.readexactly(6) == b"to two"
    two.close()
    assert await take(stream, seen) == (second, b"")
    await stream.send_data(message(first, b""))
    assert await one_reader.read() == b""
    for writer in (one, two):
        writer.close()
        await writer.wait_closed()
    await stream.close()
    await until_gone(path)


async def test_the_end_of_the_host_takes_the_socket_away(channel: GuestChannel, path: Path) -> None:
    stream = await channel.open("listen", path=str(path))
    await stream.send_eof()
    await until_gone(path)


async def test_what_makes_no_sense_ends_it(channel: GuestChannel, path: Path) -> None:
    stream = await channel.open("listen", path=str(path))
    await stream.send_data(b"\0\0\0\1\xff\xff\xff\xff")
    await until_gone(path)


async def test_no_more_connections_than_it_may_have(channel: GuestChannel, path: Path) -> None:
    stream, seen = await channel.open("listen", path=str(path)), bytearray()
    open_ones = []
    for _ in range(16):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b"x")
        assert (await take(stream, seen))[1] == b"x"
        open_ones.append(writer)
    reader, writer = await asyncio.open_unix_connection(path)
    assert await reader.read() == b"", "one too many is hung up on"
    for each in (*open_ones, writer):
        each.close()
        await each.wait_closed()
    await stream.close()


async def test_a_place_that_cannot_be_is_refused(channel: GuestChannel, path: Path) -> None:
    path.touch()
    for wrong in (str(path), "relative", "/" + "x" * 200, None):
        with pytest.raises(GuestRefusal):
            await channel.open("listen", path=wrong)
    assert path.read_bytes() == b""
