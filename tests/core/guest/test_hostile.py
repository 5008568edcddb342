"""A guest that hangs up at any byte, announces gigabytes, or says again what it has said: the host bounds it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from banger.errors import GuestError
from banger.guest import wire
from banger.guest.channel import GuestChannel
from banger.guest.wire import Frame

HELLO_BYTES = len(wire.hello(bytes(16)))
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def greeting(nonce: bytes) -> bytes:
    body = wire.MAGIC + struct.pack(">I", wire.VERSION) + nonce + b'{"state":"ready"}'
    return wire.encode(Frame(wire.HELLO, 0, 0, body))


async def read_nonce(reader: asyncio.StreamReader) -> bytes:
    return (await reader.readexactly(HELLO_BYTES))[-21:-5]


def result(stream: int, number: int) -> bytes:
    return wire.encode(Frame(wire.RESULT, stream, 0, b'{"n":%d}' % number))


@contextlib.asynccontextmanager
async def peers(path: Path, behave: Peer) -> AsyncIterator[None]:
    """Serve connections until each has ended."""
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.append(task)
        with contextlib.suppress(ConnectionError):
            await behave(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, path)
    yield
    server.close()
    await asyncio.gather(*serving)


async def test_a_guest_that_closes_at_any_byte_is_an_error_at_once(tmp_path: Path) -> None:
    whole = len(greeting(bytes(16)) + result(1, 1))
    cuts = iter(range(whole))

    async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = greeting(await read_nonce(reader)) + result(1, 1)
        writer.write(said[: next(cuts)])
        await writer.drain()

    async with peers(tmp_path / "guest", cut_off):
        for _ in range(whole):
            with pytest.raises(GuestError):
                channel = await GuestChannel.connect(tmp_path / "guest", timeout=20)
                try:
                    await channel.request("health", timeout=20)
                finally:
                    await channel.close()


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, wire.MAX_PAYLOAD + 1])
async def test_a_guest_that_announces_gigabytes_loses_its_channel_before_it_sends_them(
    tmp_path: Path, length: int
) -> None:
    async def announce(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting(await read_nonce(reader)) + wire.HEADER.pack(length, 1, wire.DATA, 1, 0))
        await reader.read()

    async with peers(tmp_path / "guest", announce):
        channel = await GuestChannel.connect(tmp_path / "guest", timeout=20)
        assert "breaks the protocol" in str(await asyncio.wait_for(channel.closed, 20))
        await channel.close()


async def test_an_answer_that_is_said_again_counts_once(tmp_path: Path) -> None:
    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting(await read_nonce(reader)))
        parser, said = wire.Parser(wire.FROM_HOST), b""
        while data := await reader.read(65536):
            for frame in parser.feed(data):
                if frame.type == wire.OPEN:
                    answer = result(frame.stream, frame.stream)
                    writer.write(said * 100 + answer + answer)
                    said = answer

    async with peers(tmp_path / "guest", repeat):
        channel = await GuestChannel.connect(tmp_path / "guest", timeout=20)
        answers = [await channel.request("health", timeout=20) for _ in range(5)]
        assert len({answer["n"] for answer in answers}) == 5
        await channel.close()


async def test_an_old_greeting_that_is_said_again_is_no_answer(tmp_path: Path) -> None:
    async def replay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_nonce(reader)
        writer.write(greeting(b"0123456789abcdef"))
        await reader.read()

    async with peers(tmp_path / "guest", replay):
        with pytest.raises(GuestError, match="answer to HELLO"):
            await GuestChannel.connect(tmp_path / "guest", timeout=0.3)
