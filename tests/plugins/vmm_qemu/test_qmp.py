"""What QEMU says over QMP, asked of a real QEMU that has no machine in it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from banger.api import VmmError, VmmStatus
from banger_vmm_qemu import qmp

ADDRESS = "127.88.17.6"


def _free_port(directory: Path) -> int:
    """Return a port that nobody has, which is noted in the directory."""
    with socket.create_server((ADDRESS, 0)) as server:
        port: int = server.getsockname()[1]
    (directory / "port").write_text(str(port))
    return port


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Path]:
    names = ("qmp", "event")
    argv = ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none", "-S"]
    argv += ["-netdev", f"user,id=net0,restrict=on,hostfwd=tcp:{ADDRESS}:{_free_port(tmp_path)}-:80"]
    monitors = [f"unix:{tmp_path / name},server=on,wait=off" for name in names]
    process = subprocess.Popen([*argv, *(word for monitor in monitors for word in ("-qmp", monitor))])
    deadline = time.monotonic() + 20
    while not all((tmp_path / name).exists() for name in names):
        assert process.poll() is None and time.monotonic() < deadline, "qemu opened no socket"
        time.sleep(0.01)
    yield tmp_path
    process.kill()
    process.wait(10)


@pytest.mark.vm
def test_the_run_state_is_what_qemu_says(sockets: Path) -> None:
    assert qmp.status(sockets).state == "prelaunch"
    qmp.resume(sockets)
    assert qmp.status(sockets) == VmmStatus("running")
    qmp.pause(sockets)
    assert qmp.status(sockets).words == "paused"


@pytest.mark.vm
def test_a_port_closes_at_once_and_a_second_time_is_no_error(sockets: Path) -> None:
    port = int((sockets / "port").read_text())
    with socket.create_connection((ADDRESS, port), timeout=20):
        pass
    for _ in range(2):
        qmp.close_port(sockets, ADDRESS, port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((ADDRESS, port), timeout=20)
    with pytest.raises(VmmError, match="did not take 'hostfwd_remove net0 tcp:nonsense:1'"):
        qmp.close_port(sockets, "nonsense", 1)


@pytest.mark.vm
async def test_changes_are_reported_until_qemu_ends(sockets: Path) -> None:
    seen: list[str] = []
    watching = asyncio.create_task(qmp.watch(sockets, lambda status: seen.append(status.state)))
    await _until(lambda: seen == ["prelaunch"])
    await asyncio.to_thread(qmp.resume, sockets)
    await _until(lambda: seen[-1] == "running")
    await asyncio.to_thread(qmp.pause, sockets)
    await _until(lambda: seen[-1] == "paused")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def test_a_vmm_that_is_gone_takes_no_command(tmp_path: Path) -> None:
    with pytest.raises(VmmError, match="did not take 'stop'"):
        qmp.pause(tmp_path)


def test_a_vmm_that_is_gone_is_unknown_and_never_an_error(tmp_path: Path) -> None:
    assert qmp.status(tmp_path).state == "unknown"
