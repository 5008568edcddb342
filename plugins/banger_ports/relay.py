"""One port of a guest on the host: connections pass through the guest's agent, to servers on its loopback as well."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from banger.api import BangerError, ServiceContext, Vm

log = logging.getLogger(__name__)

#: Ports below the host's limit for ordinary users appear this much higher, as with ``--publish``.
_SHIFT = 20000
_LIMIT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
#: Connections of one port at a time.
_CONNECTIONS = 32
#: Bytes of one read.
_PIECE = 64 * 1024


def host_port(wanted: int) -> int | None:
    """Return the port on the VM's address; None where there is none."""
    try:
        limit = int(_LIMIT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        limit = 1024
    port = wanted if wanted >= limit else wanted + _SHIFT
    return port if port < 65536 else None


class Relay:
    """A listening port. Lives on the daemon's loop."""

    def __init__(self, ctx: ServiceContext, vm: Vm, guest: int, host: int) -> None:
        self._ctx, self._vm = ctx, vm
        self.guest, self.host = guest, host
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to listen. :raises OSError: somebody else does."""
        self._server = await asyncio.start_server(self._accept, self._vm.address, self.host)

    def close(self) -> None:
        """Listen no longer, and end the connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= _CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._relay(reader, writer)
        except (BangerError, OSError) as error:
            log.info("a connection to port %d of %s ended: %s", self.guest, self._vm.name, error)
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = await self._ctx.open_stream(self._vm, "relay", port=self.guest)

        async def up() -> None:
            while data := await reader.read(_PIECE):
                await stream.send_data(data)
            await stream.send_eof()

        async def down() -> None:
            while data := await stream.read_output():
                writer.write(data)
                await writer.drain()

        sending, receiving = asyncio.create_task(up()), asyncio.create_task(down())
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                await sending  # a client that broke off ends both ways, one that has said all still listens
            await receiving
        finally:
            sending.cancel()
            receiving.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
            await stream.close()
