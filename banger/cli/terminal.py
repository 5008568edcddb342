"""The near end of a stream: this process's own standard input, output and terminal, over the frame protocol."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from banger.cli.escape import Escape, SessionLeft
from banger.errors import DaemonError, GuestError, NotFoundError
from banger.guest import wire

#: The client's stream id (banger.daemon.streams).
_STREAM = 1
#: Exit statuses shells use for a command that cannot be run and one that is not there.
_CANNOT_RUN, _NOT_THERE = 126, 127
#: Seconds that saying goodbye may take.
_LEAVE_SECONDS = 2.0
#: Seconds that a command gets to end after SIGTERM or SIGHUP; then the connection is closed, which ends it too.
_END_SECONDS = 10.0
#: So many Ctrl-C within so many seconds mean: whatever it does.
_IMPATIENT, _IMPATIENT_SECONDS = 3, 5.0
#: The agent's words for a request that it will not do (docs/reference/agent-protocol.md): the connection is well.
_REFUSED = frozenset({"no-user", "cwd", "bad-request", "limit", "refused"})
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Session:
    """One command's stream, from the connection to its exit status.

    :param raw: the remote side has a terminal and so do we: bytes pass as they are typed.
    :param escape: the character that leaves such a session, followed by a dot; None: there is none.
    """

    def __init__(self, connection: socket.socket, *, raw: bool, escape: str | None = None) -> None:
        self._connection = connection
        self._raw = raw
        self._escape = Escape(escape if raw else None)
        self._parser = wire.Parser()
        self._selector = selectors.DefaultSelector()
        self._window = wire.WINDOW
        self._owed = 0
        self._out = bytearray()
        self._reading_input = False
        self._can_watch_input = True
        self._stdin_open = True
        self._accepted = False
        self._signals = socket.socketpair()
        #: When to stop waiting for the end, and with which exit status.
        self._gives_up: tuple[float, int] | None = None
        self._interrupts: list[float] = []

    def run(self) -> int:
        """Carry bytes until the command ended; return its exit status, 128 + n after signal n."""
        with self._caught_signals(), self._raw_terminal():
            self._connection.setblocking(False)
            self._selector.register(self._connection, selectors.EVENT_READ, "daemon")
            self._selector.register(self._signals[0], selectors.EVENT_READ, "signal")
            while True:
                self._watch()
                left = None if self._gives_up is None else max(0.0, self._gives_up[0] - time.monotonic())
                ready = self._selector.select(left)
                if self._gives_up is not None and time.monotonic() >= self._gives_up[0]:
                    return self._gives_up[1]
                for key, mask in ready:
                    status = self._handle(key.data, mask)
                    if status is not None:
                        return status

    def _handle(self, what: str, mask: int) -> int | None:
        if what == "signal":
            self._forward_signals()
        elif what == "input":
            self._read_input()
        else:
            if mask & selectors.EVENT_WRITE:
                self._flush()
            if mask & selectors.EVENT_READ:
                return self._read_daemon()
        return None

    def _wants_input(self) -> bool:
        return self._accepted and self._stdin_open and self._window >= 4096 and len(self._out) < wire.WINDOW

    def _watch(self) -> None:
        """Read input only while the guest has room for it; ask for writability only while something waits."""
        if self._wants_input() != self._reading_input and self._can_watch_input:
            self._watch_input(not self._reading_input)
        while not self._can_watch_input and self._wants_input():
            self._read_input()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        if self._selector.get_key(self._connection).events != events:
            self._selector.modify(self._connection, events, "daemon")

    def _watch_input(self, wanted: bool) -> None:
        try:
            if wanted:
                self._selector.register(0, selectors.EVENT_READ, "input")
            else:
                self._selector.unregister(0)
        except (ValueError, OSError):
            # a regular file, /dev/null or a closed descriptor cannot be watched: it is always ready
            self._can_watch_input = wanted = False
        self._reading_input = wanted

    def _send(self, frame: wire.Frame) -> None:
        self._out += wire.encode(frame)

    def _flush(self) -> None:
        try:
            sent = self._connection.send(self._out)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._out)
        del self._out[:sent]

    def _read_input(self) -> None:
        try:
            data = os.read(0, min(self._window, wire.MAX_PAYLOAD))
        except OSError:
            data = b""
        typed = self._escape.feed(data)
        if typed:
            frame = wire.Frame(wire.DATA, _STREAM, wire.STDIN, typed)
            self._window -= frame.cost
            self._send(frame)
        elif not data:
            self._stdin_open = False
            self._send(wire.Frame(wire.EOF, _STREAM, wire.STDIN))
        if self._escape.left:
            self._leave()

    def _leave(self) -> None:
        """Tell the guest that its process goes on without us, and end."""
        self._send(wire.Frame(wire.CLOSE, _STREAM, wire.LEAVE))
        self._connection.settimeout(_LEAVE_SECONDS)
        with suppress(OSError):
            self._connection.sendall(self._out)
        raise SessionLeft("left")

    def _read_daemon(self) -> int | None:
        try:
            data = self._connection.recv(wire.WINDOW)
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        if not data:
            raise GuestError("the connection to the VM was lost", hint="banger vm list")
        for frame in self._parser.feed(data):
            status = self._take(frame)
            if status is not None:
                return status
        return None

    def _take(self, frame: wire.Frame) -> int | None:
        if frame.type == wire.ACCEPT:
            self._accepted = True
            if self._raw:
                self._resize()
        elif frame.type == wire.DATA:
            write_all(2 if frame.flags == wire.STDERR else 1, frame.payload)
            self._grant(frame)
        elif frame.type == wire.CREDIT:
            self._window += frame.credit
        elif frame.type == wire.EXIT:
            return exit_status(frame.json())
        elif frame.type == wire.ERROR:
            raise refused(frame.json())
        return None

    def _grant(self, frame: wire.Frame) -> None:
        self._owed += frame.cost
        if self._owed >= wire.GRANT:
            self._send(wire.credit(_STREAM, self._owed))
            self._owed = 0

    def _forward_signals(self) -> None:
        for number in self._signals[0].recv(64):
            if number == signal.SIGWINCH:
                self._resize()
            elif self._accepted:
                self._send(wire.signal(_STREAM, number))
                self._count_signal(number)
            else:
                raise KeyboardInterrupt

    def _count_signal(self, number: int) -> None:
        """Bound the wait for a command that was to end: a dead guest would keep this process for ever."""
        now = time.monotonic()
        if number == signal.SIGINT:
            self._interrupts = [then for then in self._interrupts if then > now - _IMPATIENT_SECONDS] + [now]
            if len(self._interrupts) >= _IMPATIENT:
                self._gives_up = (now, 128 + number)
        elif number in (signal.SIGTERM, signal.SIGHUP) and self._gives_up is None:
            self._gives_up = (now + _END_SECONDS, 128 + number)

    def _resize(self) -> None:
        size = terminal_size()
        self._send(wire.resize(_STREAM, size[0], size[1]))

    @contextmanager
    def _caught_signals(self) -> Iterator[None]:
        watched = [*_FORWARDED, *([signal.SIGWINCH] if self._raw else [])]
        for end in self._signals:
            end.setblocking(False)
        before = {number: signal.signal(number, lambda *_: None) for number in watched}
        wakeup = signal.set_wakeup_fd(self._signals[1].fileno())
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            for end in self._signals:
                end.close()

    @contextmanager
    def _raw_terminal(self) -> Iterator[None]:
        if not self._raw:
            yield
            return
        before = termios.tcgetattr(0)
        try:
            tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead is the guest's
            yield
        finally:
            with suppress(termios.error):  # the terminal's window was closed
                termios.tcsetattr(0, termios.TCSADRAIN, before)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of it to a descriptor of ours, non-blocking ones included."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            _wait_writable(descriptor)


def _wait_writable(descriptor: int) -> None:
    """Wait until a non-blocking descriptor of ours takes bytes again."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(descriptor, selectors.EVENT_WRITE)
        waiting.select()


def exit_status(end: dict[str, Any]) -> int:
    """Return the shell's number for how a command ended."""
    number = end.get("signal")
    if isinstance(number, int) and 0 < number < 128:
        return 128 + number
    code = end.get("code")
    return code if isinstance(code, int) and 0 <= code < 256 else 255


def refused(problem: dict[str, Any]) -> Exception:
    """Return the error for a command the guest or the daemon refused; CommandError has a shell's exit status."""
    code, message = (
        str(problem.get("code", "")),
        str(problem.get("message") or problem.get("detail") or "refused"),
    )
    if code in ("not-found", "permission"):
        return CommandError(message, _NOT_THERE if code == "not-found" else _CANNOT_RUN)
    if code in _REFUSED or "type" not in problem:
        return Refusal(message, code)
    from banger.errors import error_from_problem

    return error_from_problem(problem)


class Refusal(GuestError):
    """The guest's agent refused a request; ``code`` is the protocol's word for why."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class CommandError(NotFoundError):
    """The guest could not run the command; ``status`` is what a shell would end with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status_code = status


def terminal_size() -> tuple[int, int]:
    """Return rows and columns of our terminal, 24 by 80 where there is none."""
    for descriptor in (1, 0, 2):
        try:
            size = os.get_terminal_size(descriptor)
        except OSError:
            continue
        if size.lines and size.columns:
            return size.lines, size.columns
    return 24, 80


def has_terminal() -> bool:
    """Tell whether both standard input and standard output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def open_stream(path: str, token: str) -> socket.socket:
    """Connect to ``stream.sock`` and hand the token over."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
        connection.sendall(f"BANGER/1 {token}\n".encode())
    except OSError as error:
        connection.close()
        raise DaemonError("the daemon ended meanwhile", hint="run the command again") from error
    return connection
