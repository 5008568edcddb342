"""A running guest's memory: what it was started with, and the balloon that takes some of it away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from banger.api import VmmError
from banger_vmm_qemu.qmp import connected

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

T = TypeVar("T")

_MIB = 2**20
#: Seconds for an answer, for a guest to begin to do what it is asked, and to be done.
_ANSWER, _BEGIN, _DONE = 3.0, 3.0, 10.0
#: Seconds between two looks.
_LOOK = 0.1


def memory(sockets: Path) -> tuple[int, int]:
    """Return the MiB a VM was started with, and those its guest has now. :raises VmmError: QEMU does not say."""

    async def ask(client: QMPClient) -> tuple[int, int]:
        return await _base(client), await _actual(client)

    return _run(sockets, ask, _ANSWER)


def set_memory(sockets: Path, mib: int) -> int:
    """Ask a guest to give memory back, or let it have some again, and return the MiB it has after a few seconds.

    More than it was started with is not there to be had. A guest whose system has no driver for this does nothing, and
    is not asked for ever.

    :raises VmmError: QEMU does not answer.
    """

    async def ask(client: QMPClient) -> int:
        before = await _actual(client)
        if mib > await _base(client):
            return before
        await client.execute("balloon", {"value": mib * _MIB})
        passed, now = 0.0, before
        while now != mib and passed < (_BEGIN if now == before else _DONE):
            await asyncio.sleep(_LOOK)
            passed, now = passed + _LOOK, await _actual(client)
        if now == before != mib:
            await client.execute("balloon", {"value": before * _MIB})
        return now

    return _run(sockets, ask, _ANSWER + _DONE)


async def _base(client: QMPClient) -> int:
    said: Any = await client.execute("query-memory-size-summary")
    return int(said["base-memory"]) // _MIB


async def _actual(client: QMPClient) -> int:
    said: Any = await client.execute("query-balloon")
    return int(said["actual"]) // _MIB


def _run(sockets: Path, ask: Callable[[QMPClient], Awaitable[T]], seconds: float) -> T:
    async def run() -> T:
        async with connected(sockets / "qmp") as client:
            return await ask(client)

    try:
        return asyncio.run(asyncio.wait_for(run(), seconds))
    except Exception as error:
        said = str(error) or type(error).__name__
        raise VmmError(f"qemu does not say what memory it has: {said}", hint="see: banger vm show") from error
