"""Bytes of a copy over a stream: as fast as both sides go, and no faster."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from banger.cli.output import Progress
from banger.cli.terminal import exit_status, refused
from banger.errors import GuestError
from banger.guest import tree, wire
from banger.guest.wire import clean_text

_STREAM = 1
#: Bytes between two looks at the progress.
_STEP = 1024 * 1024
#: Bytes of what the guest's side says that are kept, and lines that are shown.
_SAID, _LINES = 64 * 1024, 100


class Writer(Protocol):
    """Where records go that come from a guest."""

    received: int

    def take(self, record: tree.Record) -> None: ...


class Transfer:
    """The near end of a copy's stream.

    :param complain: called with each line that the guest's side says went wrong.
    """

    def __init__(
        self, connection: socket.socket, progress: Progress, complain: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._progress = progress
        self._complain = complain
        self._parser = wire.Parser()
        self._window = wire.WINDOW
        self._owed = 0
        self._accepted = False
        self._status: int | None = None
        self._said = bytearray()
        self._out = bytearray()
        self._shown = 0

    def send(self, records: Iterator[bytes], total: int | None) -> int:
        """Send records until they end or the guest does; return the worker's exit status."""
        sent = 0
        self._wait(lambda: self._accepted)
        for piece in _pieces(records, wire.MAX_PAYLOAD):
            self._wait(lambda: self._window >= wire.MAX_PAYLOAD)
            if self._status is not None:
                break
            frame = wire.Frame(wire.DATA, _STREAM, wire.STDIN, piece)
            self._window -= frame.cost
            self._write(wire.encode(frame))
            sent += len(piece)
            self._show(sent, total)
        if self._status is None:
            self._write(wire.encode(wire.Frame(wire.EOF, _STREAM, wire.STDIN)))
        self._wait(lambda: self._status is not None)
        return self._end()

    def fetch(self, writer: Writer) -> int:
        """Take records until the guest ends; return the worker's exit status."""
        parser, total = tree.Parser(), None

        def take(data: bytes) -> None:
            nonlocal total
            for record in parser.feed(data):
                if record.type == tree.FILE and not record.name:
                    total = record.size
                writer.take(record)
            self._show(writer.received, total)

        self._wait(lambda: self._status is not None, take)
        if not parser.finished and self._status == 0:
            raise GuestError("the guest ended before all was sent", hint="what arrived before is whole")
        return self._end()

    def _end(self) -> int:
        for line in bytes(self._said).decode(errors="replace").splitlines()[:_LINES]:
            self._complain(clean_text(line, 1000))
        return self._status or 0

    def _show(self, done: int, total: int | None) -> None:
        if done - self._shown >= _STEP:
            self._shown = done
            known = max(total, done) if total is not None else None
            self._progress({"event": "stage", "stage": "copying", "done": done, "total": known})

    def _write(self, data: bytes) -> None:
        """Write all of it, reading meanwhile: neither side waits for the other for ever."""
        self._out += data
        while self._out and self._status is None:
            readable, writable, _ = select.select([self._connection], [self._connection], [])
            if readable:
                self._read(None)
            if writable and self._status is None:
                try:
                    del self._out[: self._connection.send(self._out)]
                except OSError:
                    self._read(None)

    def _wait(self, done: Callable[[], bool], take: Callable[[bytes], None] | None = None) -> None:
        while self._status is None and not done():
            self._read(take)

    def _read(self, take: Callable[[bytes], None] | None) -> None:
        try:
            data = self._connection.recv(wire.WINDOW)
        except ConnectionError:
            data = b""
        if not data:
            raise GuestError("the connection to the VM was lost", hint="banger vm list")
        for frame in self._parser.feed(data):
            self._take(frame, take)

    def _take(self, frame: wire.Frame, take: Callable[[bytes], None] | None) -> None:
        if frame.type == wire.ACCEPT:
            self._accepted = True
        elif frame.type == wire.CREDIT:
            self._window += frame.credit
        elif frame.type == wire.DATA:
            if frame.flags == wire.STDERR:
                self._said += frame.payload[: max(0, _SAID - len(self._said))]
            elif take is not None:
                take(frame.payload)
            self._grant(frame)
        elif frame.type == wire.EXIT:
            self._status = exit_status(frame.json())
        elif frame.type == wire.ERROR:
            raise _refusal(frame.json())

    def _grant(self, frame: wire.Frame) -> None:
        self._owed += frame.cost
        if self._owed >= wire.GRANT:
            with suppress(BrokenPipeError, ConnectionResetError):  # its last words are still to be read
                self._connection.sendall(wire.encode(wire.credit(_STREAM, self._owed)))
            self._owed = 0


def _refusal(problem: dict[str, Any]) -> Exception:
    """Return the guest's refusal: its words, cleaned, and no exit status of a shell's."""
    from banger.cli.terminal import CommandError

    error = refused(problem)
    if f"banger:{problem.get('code')}" == problem.get("type"):  # the daemon's own: the guest is gone
        return error
    if isinstance(error, (CommandError, GuestError)):
        return RefusedCopyError(f"in the guest: {clean_text(str(error), 1000)}")
    return error


class RefusedCopyError(GuestError):
    """The guest's side could not begin."""


def _pieces(records: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the bytes of records in pieces of ``size``."""
    waiting = bytearray()
    for record in records:
        waiting += record
        at = 0
        while len(waiting) - at >= size:
            yield bytes(waiting[at : at + size])
            at += size
        del waiting[:at]
    if waiting:
        yield bytes(waiting)
