"""A VM's serial console as a stream, against a VMM's socket that this test plays."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.cli.terminal import open_stream
from banger.daemon.serial import open_serial
from banger.guest import wire
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp

VM = "f" * 32


class Line:
    """The VMM's end of a serial line: a socket that serves one visitor at a time, as QEMU's does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._listener.settimeout(10)

    def visitor(self) -> socket.socket:
        connection = self._listener.accept()[0]
        connection.settimeout(10)
        return connection

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def app(banger_app: MakeApp) -> BangerApp:
    return banger_app(builtin=["core"])


@pytest.fixture
def line(app: BangerApp) -> Iterator[Line]:
    line = Line(app.paths.sockets / "serial")
    yield line
    line.close()


def sit_down(app: BangerApp, path: Path) -> socket.socket:
    """Return a client's connection to the console at ``path``."""
    tokens: list[str] = []
    issued = threading.Event()

    def on_loop() -> None:
        seats = app.services.seats
        tokens.append(
            app.services.streams.issue("vm.console", VM, lambda: open_serial(path, seats, VM, "otter"))
        )
        issued.set()

    app.services.loop.call_soon_threadsafe(on_loop)
    assert issued.wait(5)
    connection = open_stream(str(app.paths.stream_socket), tokens[0])
    connection.settimeout(10)
    return connection


class Client:
    """Frames from a connection, one by one."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._parser = wire.Parser()
        self._frames: list[wire.Frame] = []

    def next(self) -> wire.Frame:
        while not self._frames:
            data = self.connection.recv(65536)
            assert data, "the daemon hung up"
            self._frames += self._parser.feed(data)
        return self._frames.pop(0)

    def type(self, data: bytes) -> None:
        self.connection.sendall(wire.encode(wire.Frame(wire.DATA, 1, wire.STDIN, data)))


def test_what_is_typed_arrives_and_what_is_printed_comes(app: BangerApp, line: Line) -> None:
    with sit_down(app, line.path) as connection, line.visitor() as guest:
        client = Client(connection)
        assert client.next().type == wire.ACCEPT
        client.type(b"ls\r")
        assert guest.recv(100) == b"ls\r"
        credit = client.next()
        assert (credit.type, credit.credit) == (wire.CREDIT, wire.MIN_COST)
        connection.sendall(wire.encode(wire.Frame(wire.RESIZE, 1, 0, bytes(4))))  # a serial line has no size
        guest.sendall(b"\x1b[1mfiles\r\n")
        shown = client.next()
        assert (shown.type, shown.flags, shown.payload) == (wire.DATA, wire.STDOUT, b"\x1b[1mfiles\r\n")
        guest.close()
        end = client.next()
        assert (end.type, end.json()) == (wire.EXIT, {"code": 0})


def test_guest_never_waits_for_a_visitor_who_does_not_read(app: BangerApp, line: Line) -> None:
    with sit_down(app, line.path) as connection, line.visitor() as guest:
        client = Client(connection)
        assert client.next().type == wire.ACCEPT
        for _ in range(64):
            guest.sendall(bytes(65536))
        guest.close()
        received = 0
        while (frame := client.next()).type != wire.EXIT:
            received += len(frame.payload)
        assert 0 < received <= wire.WINDOW


def test_one_at_a_time_and_the_seat_is_free_afterwards(app: BangerApp, line: Line) -> None:
    for _ in range(3):
        with sit_down(app, line.path) as connection, line.visitor():
            assert Client(connection).next().type == wire.ACCEPT
            with sit_down(app, line.path) as late:
                refusal = Client(late).next()
                assert refusal.type == wire.ERROR
                assert "somebody is at the console of 'otter'" in refusal.json()["message"]
        deadline = time.monotonic() + 10
        while app.services.seats:
            assert time.monotonic() < deadline, "the seat is still taken"
            time.sleep(0.01)


def test_vmm_that_does_not_listen_is_one_clear_error(app: BangerApp, tmp_path: Path) -> None:
    with sit_down(app, tmp_path / "nothing") as connection:
        refusal = Client(connection).next().json()
        assert "the console of 'otter' cannot be reached" in refusal["message"]
        assert refusal["hint"] == "banger vm restart otter"
    assert app.services.seats == set()
