"""A command in a VM as a function: bytes in, bytes out, bounded. For commands of ours that need a guest's help."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banger.errors import GuestError
from banger.guest import wire

if TYPE_CHECKING:
    from banger.cli.client import Client

#: Bytes of standard error that are kept, the last ones.
_ERRORS = 16 * 1024
#: Bytes of standard output that are kept where nobody takes them.
OUTPUT_LIMIT = 16 * 1024 * 1024
_STREAM = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a guest's command ended: a shell's status, its output unless somebody took it, the end of its errors."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def said(self) -> str:
        """The last line of its errors, fit to be shown."""
        lines = self.stderr.decode(errors="replace").strip().splitlines()
        return wire.clean_text(lines[-1], 300) if lines else "it said nothing"


def run_piped(
    client: Client,
    vm: str,
    argv: tuple[str, ...],
    *,
    input: Iterable[bytes] | int = (),
    take: Callable[[bytes], object] | None = None,
    limit: int = OUTPUT_LIMIT,
    silence: float = 600.0,
    env: dict[str, str] | None = None,
) -> Ended:
    """Run a command in a VM, as its root, to its end.

    :param input: what it reads; asked for the next piece only when the guest has room. A descriptor is watched instead,
        for two programs that talk to each other.
    :param take: gets standard output piece by piece.
    :param limit: bytes of standard output; more is an error.
    :param silence: seconds in which neither side moves a byte, after which it is given up.
    :raises GuestError: the VM went away, was silent, or sent more than ``limit``.
    """
    from banger.cli.terminal import open_stream

    answer = client.call("vm.exec.open", {"vm": vm, "argv": list(argv), "env": env or {}, "user": "root"})
    with open_stream(answer["socket"], answer["token"]) as connection:
        return Pipe(connection, input, take, limit, silence).run()


class Pipe:
    """One command's stream, or the like of it; parameters as of :func:`run_piped`."""

    def __init__(
        self,
        connection: socket.socket,
        input: Iterable[bytes] | int,
        take: Callable[[bytes], object] | None,
        limit: int,
        silence: float,
    ) -> None:
        self._connection, self._silence, self._left = connection, silence, limit
        self._limit = limit
        self._parser = wire.Parser()
        self._input: Iterator[bytes] | None = None
        self._descriptor = input if isinstance(input, int) else None
        self._source: Iterator[bytes] = iter(()) if isinstance(input, int) else iter(input)
        self._piece = memoryview(b"")
        self._out = bytearray()
        self._window, self._owed = wire.WINDOW, 0
        self._stdout, self._stderr = bytearray(), bytearray()
        self._take = take if take is not None else self._stdout.extend

    def run(self) -> Ended:
        """Move bytes until the far end ends."""
        self._connection.setblocking(False)
        try:
            while True:
                self._fill()
                ready, writable, _ = select.select(
                    self._watched(), [self._connection] if self._out else [], [], self._silence
                )
                if not ready and not writable:
                    raise GuestError(f"the guest was silent for {self._silence:.0f} s", hint="banger vm list")
                if writable:
                    self._flush()
                if self._descriptor in ready:
                    self._read_descriptor()
                if self._connection in ready and (status := self._read()) is not None:
                    return Ended(status, bytes(self._stdout), bytes(self._stderr))
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()

    def _watched(self) -> list[socket.socket | int]:
        wanted = (
            self._descriptor is not None and self._input is not None and self._has_room() and not self._piece
        )
        return (
            [self._connection, self._descriptor]
            if wanted and self._descriptor is not None
            else [self._connection]
        )

    def _read_descriptor(self) -> None:
        assert self._descriptor is not None
        data = os.read(self._descriptor, wire.MAX_PAYLOAD)
        self._piece = memoryview(data)
        if not data:
            self._end_input()

    def _has_room(self) -> bool:
        return len(self._out) < wire.WINDOW and self._window >= wire.MIN_COST

    def _end_input(self) -> None:
        self._input = None
        self._out += wire.encode(wire.Frame(wire.EOF, _STREAM, wire.STDIN))

    def _fill(self) -> None:
        """Put more input behind what waits to be sent, as far as the guest has room for it."""
        while self._input is not None and self._has_room():
            if not self._piece:
                if self._descriptor is not None:
                    return
                piece = next(self._input, None)
                if piece is None:
                    self._end_input()
                    return
                self._piece = memoryview(piece)
                continue
            size = min(len(self._piece), self._window, wire.MAX_PAYLOAD)
            frame = wire.Frame(wire.DATA, _STREAM, wire.STDIN, bytes(self._piece[:size]))
            self._piece = self._piece[size:]
            self._window -= frame.cost
            self._out += wire.encode(frame)

    def _flush(self) -> None:
        try:
            del self._out[: self._connection.send(self._out)]
        except BlockingIOError:
            return
        except OSError:
            self._out.clear()  # why it broke is there to be read

    def _read(self) -> int | None:
        try:
            data = self._connection.recv(wire.WINDOW)
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        if not data:
            raise GuestError("the connection to the VM was lost", hint="banger vm list")
        for frame in self._parser.feed(data):
            status = self._handle(frame)
            if status is not None:
                return status
        return None

    def _handle(self, frame: wire.Frame) -> int | None:
        from banger.cli.terminal import exit_status, refused

        if frame.type == wire.ACCEPT:
            self._input = self._source
        elif frame.type == wire.DATA:
            self._keep(frame)
        elif frame.type == wire.CREDIT:
            self._window += frame.credit
        elif frame.type == wire.EXIT:
            return exit_status(frame.json())
        elif frame.type == wire.ERROR:
            raise refused(frame.json())
        return None

    def _keep(self, frame: wire.Frame) -> None:
        if frame.flags == wire.STDERR:
            self._keep_errors(frame.payload)
        else:
            self._left -= len(frame.payload)
            if self._left < 0:
                raise GuestError(
                    f"the guest sent more than {self._limit} bytes, which is more than it may",
                    hint="if that is right: a greater --max-size",
                )
            self._take(frame.payload)
        self._owed += frame.cost
        if self._owed >= wire.GRANT:
            self._out += wire.encode(wire.credit(_STREAM, self._owed))
            self._owed = 0

    def _keep_errors(self, data: bytes) -> None:
        self._stderr += data
        del self._stderr[:-_ERRORS]
