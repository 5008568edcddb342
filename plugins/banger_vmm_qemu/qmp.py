"""QEMU's control protocol, QMP: what a VM does, and telling it to pause and go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from banger.api import VmmError, VmmStatus

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

#: Seconds for connecting, asking and leaving.
_TIMEOUT = 3.0
#: Events after which the run state may be another one (qapi/run-state.json, qapi/block-core.json).
_EVENTS = ("STOP", "RESUME", "BLOCK_IO_ERROR", "GUEST_PANICKED", "SUSPEND", "WAKEUP")

#: QEMU's run states (qapi/run-state.json), in banger's words.
_STATES = {
    "running": VmmStatus("running"),
    "paused": VmmStatus("paused", "paused", "banger vm resume"),
    "io-error": VmmStatus(
        "io-error", "paused, a disk of the host is full or failed", "free some space, then: banger vm resume"
    ),
    "internal-error": VmmStatus("failed", "stopped by an internal error of QEMU", "banger vm kill"),
    "guest-panicked": VmmStatus("panicked", "halted, the guest's kernel panicked", "banger vm logs"),
}


def status(sockets: Path) -> VmmStatus:
    """Return a VM's run state; ``unknown`` with the reason when QEMU does not answer in time."""
    try:
        return asyncio.run(asyncio.wait_for(_ask(sockets), _TIMEOUT))
    except Exception as error:
        return VmmStatus("unknown", type(error).__name__)


async def watch(sockets: Path, report: Callable[[VmmStatus], None]) -> None:
    """Report the run state now and each time it changes, until QEMU ends. It has a socket of its own for this."""
    from qemu.qmp import EventListener

    events = EventListener(_EVENTS)
    async with connected(sockets / "event") as client:
        client.register_listener(events)
        report(await _query(client))
        ended = asyncio.ensure_future(client.runstate_changed())
        try:
            async for _ in _until(events, ended):
                report(await _query(client))
        finally:
            ended.cancel()


async def _until(events: Any, ended: asyncio.Future[Any]) -> AsyncIterator[None]:
    while not ended.done():
        came = asyncio.ensure_future(events.get())
        await asyncio.wait({came, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not came.done():
            came.cancel()
            return
        yield None


def pause(sockets: Path) -> None:
    """Stop the guest's processors."""
    _execute(sockets, "stop")


def resume(sockets: Path) -> None:
    """Let the guest's processors go on."""
    _execute(sockets, "cont")


def close_port(sockets: Path, address: str, port: int) -> None:
    """Close a port of the host that QEMU's own network stack listens on; connections that are open stay.

    QMP itself has no command for it; the human monitor's answers in prose (net/slirp.c).
    """
    line = f"hostfwd_remove net0 tcp:{address}:{port}"
    said = _execute(sockets, "human-monitor-command", {"command-line": line})
    if "removed" not in str(said) and "not found" not in str(said):
        raise VmmError(f"qemu did not take '{line}': {str(said).strip()[:200]}", hint="see: banger vm show")


def _execute(sockets: Path, command: str, arguments: dict[str, Any] | None = None) -> object:
    async def execute() -> object:
        async with connected(sockets / "qmp") as client:
            return await client.execute(command, arguments)

    try:
        return asyncio.run(asyncio.wait_for(execute(), _TIMEOUT))
    except Exception as error:
        said = str(error) or type(error).__name__
        raise VmmError(f"qemu did not take '{command}': {said}", hint="see: banger vm show") from error


async def _ask(sockets: Path) -> VmmStatus:
    async with connected(sockets / "qmp") as client:
        return await _query(client)


@contextlib.asynccontextmanager
async def connected(path: Path) -> AsyncIterator[QMPClient]:
    """Talk to a QEMU at its socket."""
    from qemu.qmp import QMPClient

    client = QMPClient("banger")
    await client.connect(str(path))
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            await client.disconnect()


async def _query(client: QMPClient) -> VmmStatus:
    answer = await client.execute("query-status")
    state = str(answer["status"]) if isinstance(answer, dict) else "unknown"
    return _STATES.get(state, VmmStatus(state))
