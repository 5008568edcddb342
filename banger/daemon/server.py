"""uvicorn on a socket of ours: no wake-ups while nothing happens."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from starlette.applications import Starlette

#: Seconds that answers under way get when the daemon ends.
_GRACE = 5


class _QuietServer(uvicorn.Server):
    """uvicorn's main loop ticks ten times a second; a daemon at rest uses no CPU, so ours waits for an event."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def main_loop(self) -> None:
        await self._stopping.wait()


async def serve_http(app: Starlette, listener: socket.socket, stopping: asyncio.Event) -> None:
    """Serve ``app`` on ``listener`` until ``stopping`` is set; signals are the caller's."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="asyncio",
        server_header=False,
        date_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _QuietServer(config, stopping)
    await server._serve([listener])  # noqa: SLF001  serve() would take the signals over
