"""Whether one can log in to a VM over ssh, tried over its agent's channel as ``vm ssh`` does it."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from banger.daemon.ops.ssh import prepare_sshd, ssh_files
from banger.daemon.services import Services
from banger.daemon.starts import vm_paths
from banger.errors import HostError
from banger.guest import wire
from banger.guest.stream import GuestStream
from banger.host.ssh_login import try_login
from banger.model.vm import Vm

#: Bytes that are kept of what a server says besides the protocol.
_SAID = 2000


async def log_in(services: Services, vm: Vm, timeout: float) -> str:
    """Log in once and return the server's version; HostError when that does not work within ``timeout`` seconds."""
    request = await prepare_sshd(services, vm)
    stream = await services.guests.open(vm.id, vm_paths(services, vm).channel, "exec", **request)
    ours, theirs = socket.socketpair()
    pump = asyncio.create_task(_pump(stream, ours))
    files = ssh_files(services)
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.to_thread(
                try_login, theirs, f"{vm.name}.vm", files.identity, files.known_hosts, timeout
            )
    except TimeoutError as error:
        raise HostError(f"no login over ssh within {timeout:g} s") from error
    except HostError as error:
        if pump.done() and not pump.cancelled() and (said := pump.result()):
            raise HostError(f"no login over ssh: {said}") from error
        raise
    finally:
        pump.cancel()
        theirs.close()
        with contextlib.suppress(asyncio.CancelledError):
            await pump
        await stream.close()


async def _pump(stream: GuestStream, connection: socket.socket) -> str:
    """Carry bytes both ways until the guest's end closes; return the first line it said on its standard error."""
    reader, writer = await asyncio.open_connection(sock=connection)
    up = asyncio.create_task(_send(reader, stream))
    said = b""
    try:
        while (frame := await stream.read_frame()).type not in wire.FINAL:
            if frame.type != wire.DATA:
                continue
            if frame.flags == wire.STDOUT:
                writer.write(frame.payload)
                await writer.drain()
            elif len(said) < _SAID:
                said += frame.payload
            await stream.grant(frame)
        return wire.clean_text(said.decode(errors="replace").partition("\n")[0], 300)
    finally:
        up.cancel()
        writer.close()


async def _send(reader: asyncio.StreamReader, stream: GuestStream) -> None:
    while data := await reader.read(wire.MAX_PAYLOAD):
        await stream.send_data(data)
    await stream.send_eof()
