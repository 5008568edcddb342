"""What QEMU says of itself over QMP, its control protocol."""

from __future__ import annotations

import asyncio
from pathlib import Path

#: Seconds for connecting, asking and leaving.
_TIMEOUT = 3.0

#: QEMU's run states worth more than their names (qapi/run-state.json).
_WORDS = {
    "running": "running",
    "io-error": "paused: a disk of the host is full or failed; free some space, then: banger vm kill",
    "internal-error": "stopped by an internal error of QEMU",
    "guest-panicked": "the guest's kernel panicked",
}


def status(sockets: Path) -> str:
    """Return a VM's run state in words; ``unknown`` with the reason when QEMU does not answer in time."""
    try:
        state = asyncio.run(asyncio.wait_for(_query(sockets / "qmp"), _TIMEOUT))
    except Exception as error:
        return f"unknown: {type(error).__name__}"
    return _WORDS.get(state, state)


async def _query(path: Path) -> str:
    from qemu.qmp import QMPClient

    client = QMPClient("banger")
    await client.connect(str(path))
    try:
        answer = await client.execute("query-status")
    finally:
        await client.disconnect()
    return str(answer["status"]) if isinstance(answer, dict) else "unknown"
