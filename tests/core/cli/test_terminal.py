from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from banger.cli.terminal import CommandError, Session, exit_status, refused
from banger.errors import ConflictError, GuestError
from banger.guest import wire


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ({"code": 0}, 0),
        ({"code": 7}, 7),
        ({"code": 255}, 255),
        ({"signal": 9}, 137),
        ({"signal": 9, "code": 0}, 137),
        ({"code": 256}, 255),
        ({"code": -1}, 255),
        ({"code": "0"}, 255),
        ({"signal": 0}, 255),
        ({"signal": 999}, 255),
        ({}, 255),
    ],
)
def test_exit_status_is_a_shells_and_a_hostile_guest_cannot_leave_the_range(
    end: dict[str, Any], status: int
) -> None:
    assert exit_status(end) == status


def test_refusals_have_the_shells_statuses() -> None:
    gone, forbidden = (refused({"code": code, "message": "x"}) for code in ("not-found", "permission"))
    assert isinstance(gone, CommandError) and gone.status_code == 127
    assert isinstance(forbidden, CommandError) and forbidden.status_code == 126
    assert type(refused(ConflictError("taken").to_problem())) is ConflictError
    assert isinstance(refused({"code": "io", "message": "broken"}), GuestError)


Far = Callable[[socket.socket], None]


def run_session(far_end: Far, stdin: int | None = None) -> int:
    """Run a session whose other end is ``far_end``, with ``stdin`` as standard input."""
    near, far = socket.socketpair()
    thread = threading.Thread(target=far_end, args=(far,))
    kept = os.dup(0)
    if stdin is not None:
        os.dup2(stdin, 0)
    try:
        thread.start()
        with near:
            return Session(near, raw=False).run()
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        thread.join(10)
        far.close()


def send(far: socket.socket, *frames: wire.Frame) -> None:
    far.sendall(b"".join(map(wire.encode, frames)))


ACCEPT = wire.Frame(wire.ACCEPT, 1, 0, b"{}")


def end(code: int) -> wire.Frame:
    return wire.Frame(wire.EXIT, 1, 0, wire.encode_json({"code": code}))


def test_output_goes_where_it_belongs_byte_for_byte(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    def far_end(far: socket.socket) -> None:
        out = wire.Frame(wire.DATA, 1, wire.STDOUT, bytes(range(256)))
        send(far, ACCEPT, out, wire.Frame(wire.DATA, 1, wire.STDERR, b"oops"), end(3))

    assert run_session(far_end) == 3
    printed = capfdbinary.readouterr()
    assert (printed.out, printed.err) == (bytes(range(256)), b"oops")


def read_input(far: socket.socket, *, grant: bool = True) -> bytes:
    """Read standard input to its end, giving credit back."""
    parser, data = wire.Parser(wire.FROM_HOST), b""
    while received := far.recv(65536):
        for frame in parser.feed(received):
            if frame.type == wire.EOF:
                return data
            if frame.type == wire.DATA:
                data += frame.payload
                if grant:
                    send(far, wire.credit(1, frame.cost))
    raise AssertionError("no end of input came")


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_regular_file_as_input_arrives_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "input").write_bytes(content)
    got: list[bytes] = []

    def far_end(far: socket.socket) -> None:
        send(far, ACCEPT)
        got.append(read_input(far))
        send(far, end(0))

    with open(tmp_path / "input", "rb") as file:
        assert run_session(far_end, file.fileno()) == 0
    assert got == [content]


def test_pipe_as_input_arrives_whole() -> None:
    content = os.urandom(300_000)
    read, write = os.pipe()

    def feed() -> None:
        with open(write, "wb") as file:
            file.write(content)

    got: list[bytes] = []

    def far_end(far: socket.socket) -> None:
        send(far, ACCEPT)
        got.append(read_input(far))
        send(far, end(0))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        assert run_session(far_end, read) == 0
    finally:
        os.close(read)
        feeder.join(5)
    assert got == [content]


def test_no_more_input_is_sent_than_the_guest_has_room_for(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(bytes(4 * wire.WINDOW))
    got: list[int] = []

    def far_end(far: socket.socket) -> None:
        far.settimeout(0.5)
        send(far, ACCEPT)
        parser, total = wire.Parser(wire.FROM_HOST), 0
        try:
            while True:
                total += sum(frame.cost for frame in parser.feed(far.recv(65536)) if frame.type == wire.DATA)
        except TimeoutError:
            got.append(total)
        send(far, end(0))

    with open(tmp_path / "input", "rb") as file:
        assert run_session(far_end, file.fileno()) == 0
    assert 0 < got[0] <= wire.WINDOW


def test_output_is_paid_for_with_credit() -> None:
    got: list[int] = []

    def far_end(far: socket.socket) -> None:
        frame = wire.Frame(wire.DATA, 1, wire.STDOUT, b"")
        send(far, ACCEPT, *(frame._replace(payload=b"\n" * 16384) for _ in range(8)))
        parser = wire.Parser(wire.FROM_HOST)
        while sum(got) < 2 * wire.GRANT:
            got.extend(frame.credit for frame in parser.feed(far.recv(65536)) if frame.type == wire.CREDIT)
        send(far, end(0))

    read, write = os.pipe()
    os.close(write)
    try:
        assert run_session(far_end, read) == 0
    finally:
        os.close(read)
    assert sum(got) == 8 * 16384


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_is_passed_on_to_the_command(number: signal.Signals) -> None:
    got: list[int] = []

    def far_end(far: socket.socket) -> None:
        send(far, ACCEPT, wire.Frame(wire.DATA, 1, wire.STDOUT, b"\n"))
        parser = wire.Parser(wire.FROM_HOST)
        sent = False
        while not got:
            for frame in parser.feed(far.recv(65536)):
                if frame.type == wire.SIGNAL:
                    got.append(frame.payload[0])
            if not sent:
                sent = True
                os.kill(os.getpid(), number)
        send(far, end(128 + number))

    read, write = os.pipe()
    os.write(write, b"x")
    try:
        assert run_session(far_end, read) == 128 + number
    finally:
        os.close(read)
        os.close(write)
    assert got == [number]


def test_connection_that_is_lost_is_one_clear_error() -> None:
    def far_end(far: socket.socket) -> None:
        send(far, ACCEPT)
        far.shutdown(socket.SHUT_RDWR)

    with pytest.raises(GuestError, match="connection to the VM was lost") as caught:
        run_session(far_end)
    assert caught.value.hint


def test_signal_handlers_are_as_they_were() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    run_session(lambda far: send(far, ACCEPT, end(0)))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@contextmanager
def signalled(number: signal.Signals, times: int) -> Iterator[None]:
    """Send this process a signal, as soon as somebody else listens to it and until that is over, ``times`` at most."""

    def nobody(*_: object) -> None:
        pass

    def send_signals() -> None:
        while signal.getsignal(number) is nobody and not over.wait(0.01):
            pass
        for _ in range(times):
            if over.wait(0.05):
                return
            os.kill(os.getpid(), number)

    over, before = threading.Event(), signal.signal(number, nobody)
    thread = threading.Thread(target=send_signals)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(number, before)


def test_a_command_that_does_not_end_after_sigterm_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("banger.cli.terminal._END_SECONDS", 0.2)
    near, far = socket.socketpair()
    session = Session(near, raw=False)
    session._accepted = True
    with near, far:
        with signalled(signal.SIGTERM, 1):
            assert session.run() == 128 + signal.SIGTERM
        assert wire.signal(1, signal.SIGTERM).payload in far.recv(65536)


def test_three_interrupts_in_a_row_leave() -> None:
    near, far = socket.socketpair()
    session = Session(near, raw=False)
    session._accepted = True
    # more than three: two that come close together are one
    with near, far, signalled(signal.SIGINT, 1000):
        assert session.run() == 128 + signal.SIGINT
