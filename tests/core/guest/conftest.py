from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from banger.guest.channel import GuestChannel

SOURCE = Path(__file__).parents[3] / "agent"


@pytest.fixture(scope="session", params=["static", "sanitized"])
def agent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real agent, built for this machine as it is delivered and with ASan and UBSan (or BANGER_TEST_AGENT)."""
    if given := os.environ.get("BANGER_TEST_AGENT"):
        return Path(given)
    build = tmp_path_factory.mktemp("agent")
    target, name = {"static": ("all", "banger-agent"), "sanitized": ("asan", "banger-agent-asan")}[
        request.param
    ]
    subprocess.run(["make", "-s", "-C", str(SOURCE), f"BUILD={build}", target], check=True)
    return build / name


@pytest.fixture
def listening_agent(agent: Path, tmp_path: Path) -> Iterator[Path]:
    """The socket of an agent that serves one host connection after another."""
    path = tmp_path / "agent.sock"
    process = subprocess.Popen([str(agent), "--listen", str(path)])
    yield path
    process.terminate()
    process.wait(10)
    assert process.returncode == -signal.SIGTERM, "the agent ended by itself"


@pytest.fixture
async def channel(listening_agent: Path) -> AsyncIterator[GuestChannel]:
    channel = await GuestChannel.connect(listening_agent, timeout=10)
    yield channel
    await channel.close()


@pytest.fixture
def port(agent: Path) -> Iterator[socket.socket]:
    """One byte stream to an agent that cannot see the host come and go, as a virtio port may be."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([str(agent), "--serve-fd", str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    ours.settimeout(10)
    yield ours
    ours.close()
    assert process.wait(10) == 0
