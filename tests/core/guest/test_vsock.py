"""The agent behind a vsock device, whose Unix socket wants to be told a port first; the VMM's part is played here."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from banger.errors import GuestError
from banger.guest import wire
from banger.guest.channel import GuestChannel


class Device:
    """Firecracker's end: ``CONNECT port``, ``OK number``, then bytes either way; where nobody listens it hangs up."""

    def __init__(self, agent: Path) -> None:
        self.agent = agent
        self.asked: list[bytes] = []
        #: So many callers find nobody listening: the guest still boots.
        self.early = 0
        self.tasks: list[asyncio.Task[object]] = []
        self.answer = b"OK 1073741824\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        with contextlib.suppress(OSError):
            self.asked.append(await reader.readline())
            if len(self.asked) > self.early:
                inner = await asyncio.open_unix_connection(os.fspath(self.agent))
                writer.write(self.answer)
                await asyncio.gather(_pump(reader, inner[1]), _pump(inner[0], writer))
        await _close(writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@pytest.fixture
async def device(listening_agent: Path, tmp_path: Path) -> AsyncIterator[Device]:
    device = Device(listening_agent)
    async with await asyncio.start_unix_server(device.serve, tmp_path / "vsock"):
        (tmp_path / "agent").symlink_to("vsock")
        yield device
        await asyncio.wait_for(asyncio.gather(*device.tasks), 20)


async def test_agents_port_is_asked_for_and_the_channel_works(device: Device, tmp_path: Path) -> None:
    channel = await GuestChannel.connect(tmp_path / "agent", timeout=20)
    assert (await channel.request("health"))["state"] == "ready"
    await channel.close()
    again = await GuestChannel.connect(tmp_path / "agent", timeout=20)
    assert (await again.request("health"))["state"] == "ready"
    await again.close()
    assert set(device.asked) == {b"CONNECT %d\n" % wire.VSOCK_PORT}


async def test_guest_that_does_not_listen_yet_is_asked_again(device: Device, tmp_path: Path) -> None:
    device.early = 3
    channel = await GuestChannel.connect(tmp_path / "agent", timeout=20)
    await channel.close()
    assert len(device.asked) == 4


@pytest.mark.parametrize(
    "answer", [b"NO\n", b"x" * 300_000, b"", b"OK"], ids=["no", "endless", "none", "cut"]
)
async def test_device_that_answers_nonsense_is_silence_in_the_end(
    device: Device, tmp_path: Path, answer: bytes
) -> None:
    device.answer = answer
    with pytest.raises(GuestError, match=r"waited 0.5 s for the socket"):
        await GuestChannel.connect(tmp_path / "agent", timeout=0.5)
