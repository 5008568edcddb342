"""A VM's serial console as a stream: what the guest prints there and what is typed, by way of the VMM's socket.

The VMM writes the console's file whether somebody is here or not. Somebody who does not read loses output, which is in
that file: a guest must never wait for a terminal of the host.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from banger.errors import ConflictError, VmmError
from banger.guest import wire

_STREAM = 1
#: Seconds for the VMM to take what was typed: a guest that does not read its console leaves it lying.
_TYPED_SECONDS = 5.0


class SerialConsole:
    """One visitor at a console; what :class:`~banger.daemon.streams.Streams` relays, like a stream of the agent's."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seat: set[str], vm_id: str
    ) -> None:
        self.accept: dict[str, Any] = {}
        self._reader, self._writer = reader, writer
        self._seat, self._vm_id = seat, vm_id
        self._frames: asyncio.Queue[wire.Frame] = asyncio.Queue()
        self._window = wire.WINDOW
        self._pump = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(wire.MAX_PAYLOAD // 2):
                frame = wire.Frame(wire.DATA, _STREAM, wire.STDOUT, data)
                if frame.cost <= self._window:
                    self._window -= frame.cost
                    self._frames.put_nowait(frame)
        self._frames.put_nowait(wire.Frame(wire.EXIT, _STREAM, 0, wire.encode_json({"code": 0})))

    async def read_frame(self) -> wire.Frame:
        """Return what comes next for the client; an EXIT when the VMM has ended."""
        return await self._frames.get()

    async def send_frame(self, frame: wire.Frame) -> None:
        """Take what the client sent; a console has no size and takes no signals."""
        if frame.type == wire.CREDIT:
            self._window += frame.credit
        elif frame.type == wire.DATA:
            self._writer.write(frame.payload)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._writer.drain(), _TYPED_SECONDS)
            self._frames.put_nowait(wire.credit(_STREAM, frame.cost))

    async def close(self) -> None:
        """Leave the console to the next one."""
        self._pump.cancel()
        self._writer.close()
        self._seat.discard(self._vm_id)


async def open_serial(path: Path, seats: set[str], vm_id: str, name: str) -> SerialConsole:
    """Sit down at a VM's console.

    :param seats: ids of VMs whose console somebody is at: a VMM serves one at a time.
    :raises ConflictError: somebody is there. :raises VmmError: nobody listens at ``path``.
    """
    if vm_id in seats:
        raise ConflictError(f"somebody is at the console of '{name}'", hint=f"banger vm logs -f {name}")
    seats.add(vm_id)
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_unix_connection(path), 5)
    except (OSError, TimeoutError) as error:
        seats.discard(vm_id)
        raise VmmError(
            f"the console of '{name}' cannot be reached: {error}", hint=f"banger vm restart {name}"
        ) from error
    return SerialConsole(reader, writer, seats, vm_id)
