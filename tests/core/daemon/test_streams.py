from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banger.cli.terminal import open_stream
from banger.daemon.streams import Streams
from banger.errors import ConflictError, NotFoundError
from banger.guest import wire
from banger.model.vm import VmState
from banger.testing.app import BangerApp
from banger.testing.samples import sample_image

MakeLab = Callable[..., BangerApp]


@pytest.fixture
def app(lab: MakeLab) -> BangerApp:
    return lab()


class Guest:
    """A guest's agent that accepts one command, echoes its input and ends it with its last byte as status."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened: list[dict[str, Any]] = []
        self.closed = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self._connection, _ = self._listener.accept()
        with self._connection as connection:
            greeting = b""
            while len(greeting) < len(wire.hello(bytes(16))):
                greeting += connection.recv(65536)
            body = wire.MAGIC + wire.VERSION.to_bytes(4, "big") + greeting[-21:-5] + b'{"state":"ready"}'
            connection.sendall(wire.encode(wire.Frame(wire.HELLO, 0, 0, body)))
            parser = wire.Parser(wire.FROM_HOST)
            with contextlib.suppress(OSError):
                while data := connection.recv(65536):
                    for frame in parser.feed(data):
                        connection.sendall(b"".join(map(wire.encode, self._answer(frame))))

    def _answer(self, frame: wire.Frame) -> list[wire.Frame]:
        if frame.type == wire.OPEN:
            self.opened.append(frame.json())
            return [wire.Frame(wire.ACCEPT, frame.stream, 0, b"{}")]
        if frame.type == wire.DATA:
            return [wire.Frame(wire.DATA, frame.stream, wire.STDOUT, frame.payload)]
        if frame.type == wire.EOF:
            return [wire.Frame(wire.EXIT, frame.stream, 0, b'{"code": 7}')]
        if frame.type == wire.CLOSE:
            self.closed.set()
        return []

    def close(self) -> None:
        self._listener.close()
        self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)


def issue(app: BangerApp, path: Path) -> str:
    """Return a token for a command in the guest at ``path``, as an operation gets one."""
    result: list[str] = []
    done = threading.Event()

    def on_loop() -> None:
        request = {"op": "exec", "argv": ["true"]}
        result.append(app.services.streams.issue_request("f" * 32, path, "vm.exec", request))
        done.set()

    app.services.loop.call_soon_threadsafe(on_loop)
    assert done.wait(5)
    return result[0]


def frames(connection: socket.socket) -> list[wire.Frame]:
    """Read everything until the daemon closes."""
    connection.settimeout(10)
    parser, found = wire.Parser(), []
    while data := connection.recv(65536):
        found += parser.feed(data)
    return found


def refused(app: BangerApp, greeting: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(app.paths.stream_socket))
        connection.sendall(greeting)
        [frame] = frames(connection)
    assert frame.type == wire.ERROR
    return frame.json()


def test_bytes_pass_both_ways_and_the_exit_status_comes_last(app: BangerApp) -> None:
    guest = Guest(app.paths.sockets / "guest")
    with open_stream(str(app.paths.stream_socket), issue(app, guest.path)) as connection:
        payload = bytes(range(256)) * 40
        connection.sendall(wire.encode(wire.Frame(wire.DATA, 1, wire.STDIN, payload)))
        connection.sendall(wire.encode(wire.Frame(wire.EOF, 1, wire.STDIN)))
        accept, *data, end = frames(connection)
    assert accept.type == wire.ACCEPT and end.type == wire.EXIT and end.json() == {"code": 7}
    assert b"".join(frame.payload for frame in data) == payload
    assert all(frame.stream == 1 for frame in (accept, *data, end))
    assert guest.opened == [{"op": "exec", "argv": ["true"]}]
    guest.close()


def test_token_is_good_for_one_connection(app: BangerApp) -> None:
    guest = Guest(app.paths.sockets / "guest")
    token = issue(app, guest.path)
    with open_stream(str(app.paths.stream_socket), token) as connection:
        connection.sendall(wire.encode(wire.Frame(wire.EOF, 1, wire.STDIN)))
        assert frames(connection)[-1].type == wire.EXIT
    problem = refused(app, f"BANGER/1 {token}\n".encode())
    assert "used" in problem["message"] and problem["type"] == "banger:usage"
    assert len(guest.opened) == 1
    guest.close()


def test_token_expires(app: BangerApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("banger.daemon.streams.TOKEN_SECONDS", 0.05)
    token = issue(app, app.paths.sockets / "guest")
    time.sleep(0.1)
    monkeypatch.setattr("banger.daemon.streams.TOKEN_SECONDS", 10)
    assert "too old" in refused(app, f"BANGER/1 {token}\n".encode())["message"]


@pytest.mark.parametrize(
    "greeting",
    [b"\n", b"BANGER/1 wrong\n", b"BANGER/1\n", b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\n", b"x" * 200_000],
)
def test_greeting_without_a_good_token_is_refused(app: BangerApp, greeting: bytes) -> None:
    assert refused(app, greeting)["type"] == "banger:usage"


def test_token_with_another_greeting_is_spent_all_the_same(app: BangerApp) -> None:
    token = issue(app, app.paths.sockets / "guest")
    refused(app, f"BANGER/9 {token}\n".encode())
    refused(app, f"BANGER/1 {token}\n".encode())


def test_silent_client_is_hung_up_on(app: BangerApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("banger.daemon.streams.TOKEN_SECONDS", 0.1)
    assert "no token" in refused(app, b"BANG")["message"]


def test_tokens_that_wait_are_bounded_and_the_oldest_falls_out(
    app: BangerApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banger.daemon.streams._TOKENS", 3)
    tokens = [issue(app, app.paths.sockets / "guest") for _ in range(4)]
    assert len(set(tokens)) == 4
    assert list(app.services.streams._tickets) == tokens[1:]


def test_open_stream_counts_as_a_running_operation(app: BangerApp) -> None:
    guest = Guest(app.paths.sockets / "guest")
    with open_stream(str(app.paths.stream_socket), issue(app, guest.path)) as connection:
        assert connection.recv(65536)
        with pytest.raises(ConflictError, match="vm.exec"):
            app.call("daemon.stop")
        connection.sendall(wire.encode(wire.Frame(wire.EOF, 1, wire.STDIN)))
        frames(connection)
    assert app.call("daemon.status")["operations"] == 0
    guest.close()


def test_client_that_goes_away_closes_the_guests_stream_and_is_noticed(app: BangerApp) -> None:
    guest = Guest(app.paths.sockets / "guest")
    with open_stream(str(app.paths.stream_socket), issue(app, guest.path)) as connection:
        assert connection.recv(65536)
    assert guest.closed.wait(5)
    guest.close()


def test_client_that_dies_while_the_guest_prints_is_noticed_every_time(app: BangerApp) -> None:
    guest = Guest(app.paths.sockets / "guest")
    for attempt in range(20):
        guest.closed.clear()
        connection = open_stream(str(app.paths.stream_socket), issue(app, guest.path))
        assert connection.recv(65536)
        for _ in range(3):
            connection.sendall(wire.encode(wire.Frame(wire.DATA, 1, wire.STDIN, bytes(60000))))
        connection.close()
        assert guest.closed.wait(5), f"not noticed the {attempt}. time"
    guest.close()


def test_client_that_breaks_the_protocol_is_told_and_ends_its_stream_only(app: BangerApp) -> None:
    guest = Guest(app.paths.sockets / "guest")
    with open_stream(str(app.paths.stream_socket), issue(app, guest.path)) as connection:
        connection.sendall(wire.encode(wire.Frame(wire.EOF, 9, wire.STDIN)))
        assert frames(connection)[-1].type == wire.ERROR
    assert guest.closed.wait(5)
    assert app.call("daemon.status")
    guest.close()


def test_stream_socket_is_the_owners_alone(app: BangerApp) -> None:
    assert app.paths.stream_socket.stat().st_mode & 0o777 == 0o600


def test_exec_is_refused_for_a_vm_that_does_not_run_or_is_not_there(app: BangerApp) -> None:
    app.call("vm.create", {"name": "otter", "start": False})
    with pytest.raises(ConflictError, match="'otter' is created, not running") as caught:
        app.call("vm.exec.open", {"vm": "otter", "argv": ["true"]})
    assert caught.value.hint == "banger vm start otter"
    with pytest.raises(NotFoundError):
        app.call("vm.exec.open", {"vm": "beaver", "argv": ["true"]})


def test_the_callers_language_goes_along_unless_something_else_sets_it(
    app: BangerApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[dict[str, Any]] = []
    issue_request = Streams.issue_request

    def note(self: Streams, vm_id: str, socket: Any, name: str, request: dict[str, Any]) -> str:
        requests.append(dict(request))
        return issue_request(self, vm_id, socket, name, request)

    monkeypatch.setattr(Streams, "issue_request", note)
    database = app.services.database
    database.add_image(sample_image("german", env={"LANG": "de_AT.UTF-8"}))
    app.call("vm.create", {"name": "otter", "start": False})
    app.call("vm.create", {"name": "alpen", "image": "german", "start": False})
    for vm in database.vms():
        database.update_vm(vm.model_copy(update={"state": VmState.RUNNING}))

    def asked(vm: str, **params: Any) -> tuple[str, str | None]:
        app.call("vm.exec.open", {"vm": vm, "argv": ["true"], **params})
        return requests[-1]["env"]["LANG"], requests[-1].get("lang")

    assert asked("otter") == ("C.UTF-8", None)
    assert asked("otter", language="de_DE.UTF-8") == ("C.UTF-8", "de_DE.UTF-8")
    assert asked("otter", language="de_DE.UTF-8", env={"LANG": "C"}) == ("C", None)
    assert asked("alpen", language="de_DE.UTF-8") == ("de_AT.UTF-8", None)
