"""A command in a sandbox: its input, its output as it comes, its end."""

from __future__ import annotations

import selectors
import signal as signals
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from banger.cli.terminal import exit_status, refused
from banger.errors import GuestError
from banger.guest import wire

#: Bytes of output that wait to be read, at most: what a hostile guest can make this process hold.
OUTPUT_LIMIT = 64 * 1024 * 1024
#: Seconds for the guest to begin the command.
_ACCEPT_SECONDS = 30.0
_STREAM = 1

Channel = Literal["stdout", "stderr"]


@dataclass(frozen=True)
class Completed:
    """A command that has ended. ``status`` is its exit status, 128 + n after signal n."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text, without the last line's end; bytes that are no UTF-8 become U+FFFD."""
        return self.stdout.decode(errors="replace").removesuffix("\n")


class CommandFailed(GuestError):
    """A command that was checked ended with a status other than 0; ``completed`` has the rest."""

    def __init__(self, completed: Completed) -> None:
        last = completed.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        said = f": {wire.clean_text(last, 200)}" if last else ""
        super().__init__(f"'{completed.argv[0]}' ended with status {completed.status}{said}")
        self.completed = completed


class Process:
    """A running command, made by :meth:`banger.Sandbox.stream`. Iterate over it for its output.

    ::

        with box.stream("make", "-j4") as process:
            for channel, data in process:
                ...
        process.status

    Leaving the ``with`` block before its end hangs up: the command gets SIGHUP, and SIGKILL two seconds later.

    :raises NotFoundError: the guest has no such command.
    :raises GuestError: the guest refused it, or the connection was lost.
    """

    def __init__(self, connection: socket.socket, argv: tuple[str, ...]) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ)
        self._parser = wire.Parser()
        self._out = bytearray()
        self._chunks: deque[tuple[Channel, bytes]] = deque()
        self._held = self._owed = 0
        self._window = wire.WINDOW
        self._accepted = False
        self.argv = argv
        #: The exit status once the command has ended.
        self.status: int | None = None
        deadline = time.monotonic() + _ACCEPT_SECONDS
        while not self._accepted:
            self._step(deadline, "the command to begin")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[Channel, bytes]]:
        while (chunk := self.read()) is not None:
            yield chunk

    def read(self, timeout: float | None = None) -> tuple[Channel, bytes] | None:
        """Return the next piece of output, or None when the command has ended and all was read.

        :param timeout: seconds to wait at most; GuestError then.
        """
        deadline = _deadline(timeout)
        while not self._chunks and self.status is None:
            self._step(deadline, "output")
        if not self._chunks:
            return None
        channel, data = self._chunks.popleft()
        self._held -= len(data)
        return channel, data

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Give the command input; returns when the guest has room for all of it. After its end it is dropped."""
        deadline, rest = _deadline(timeout), memoryview(data)
        while (rest or self._out) and self.status is None:
            size = min(self._window, wire.MAX_PAYLOAD, len(rest))
            if size and self._window >= wire.MIN_COST and len(self._out) < wire.WINDOW:
                frame = wire.Frame(wire.DATA, _STREAM, wire.STDIN, bytes(rest[:size]))
                self._window -= frame.cost
                self._out += wire.encode(frame)
                rest = rest[size:]
            else:
                self._step(deadline, "room for the command's input")

    def close_input(self) -> None:
        """End the command's standard input."""
        self._send(wire.Frame(wire.EOF, _STREAM, wire.STDIN))

    def signal(self, number: int = signals.SIGTERM) -> None:
        """Send a signal to the command's process group."""
        self._send(wire.signal(_STREAM, number))

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the status; output is kept for :meth:`read`."""
        deadline = _deadline(timeout)
        while self.status is None:
            self._step(deadline, f"'{self.argv[0]}' to end")
        return self.status

    def communicate(self, input: bytes = b"", timeout: float | None = None) -> Completed:
        """Give all input, take all output, wait for the end."""
        deadline = _deadline(timeout)
        self.write(input, timeout)
        self.close_input()
        while self.status is None:
            self._step(deadline, f"'{self.argv[0]}' to end")
        parts: dict[Channel, list[bytes]] = {"stdout": [], "stderr": []}
        for channel, data in self:
            parts[channel].append(data)
        return Completed(self.argv, self.status, b"".join(parts["stdout"]), b"".join(parts["stderr"]))

    def close(self) -> None:
        """Let go of the command; one that still runs is ended. Idempotent."""
        self._selector.close()
        self._connection.close()

    def _send(self, frame: wire.Frame) -> None:
        if self.status is None:
            self._out += wire.encode(frame)
            self._flush()

    def _flush(self) -> None:
        try:
            del self._out[: self._connection.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()  # the reading side says why

    def _step(self, deadline: float | None, what: str) -> None:
        """Send and receive what is possible, waiting until something is."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        self._selector.modify(self._connection, events)
        left = None if deadline is None else deadline - time.monotonic()
        ready = self._selector.select(left) if left is None or left > 0 else []
        if not ready:
            raise GuestError(f"waited too long for {what}", hint="give it a longer timeout")
        if ready[0][1] & selectors.EVENT_WRITE:
            self._flush()
        if ready[0][1] & selectors.EVENT_READ:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._connection.recv(wire.WINDOW)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            raise GuestError("the connection to the VM was lost", hint="banger vm list")
        for frame in self._parser.feed(data):
            self._take(frame)

    def _take(self, frame: wire.Frame) -> None:
        if frame.type == wire.ACCEPT:
            self._accepted = True
        elif frame.type == wire.DATA:
            self._keep("stderr" if frame.flags == wire.STDERR else "stdout", frame)
        elif frame.type == wire.CREDIT:
            self._window += frame.credit
        elif frame.type == wire.EXIT:
            self.status = exit_status(frame.json())
        elif frame.type == wire.ERROR:
            raise refused(frame.json())

    def _keep(self, channel: Channel, frame: wire.Frame) -> None:
        self._held += len(frame.payload)
        if self._held > OUTPUT_LIMIT:
            raise GuestError(
                f"'{self.argv[0]}' printed more than {OUTPUT_LIMIT >> 20} MiB that nobody read",
                hint="read its output as it comes: Sandbox.stream",
            )
        self._chunks.append((channel, frame.payload))
        self._owed += frame.cost
        if self._owed >= wire.GRANT:
            self._send(wire.credit(_STREAM, self._owed))
            self._owed = 0


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout
