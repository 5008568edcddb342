"""The client against a tiny server that answers whatever a test wants."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from banger.cli import client
from banger.cli.client import Client, read_environment
from banger.config.paths import find_paths, make_private
from banger.errors import BangerError, ConflictError, DaemonError, UsageError
from banger.testing.pytest_plugin import BangerDirs


class FakeDaemon:
    """Answers each connection with the next of ``answers``, byte for byte, in the pieces given."""

    def __init__(self) -> None:
        self.answers: list[list[bytes]] = []
        self.requests: list[bytes] = []
        sockets = make_private(find_paths().sockets)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(sockets / "bangerd.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(65536)
                head, _, body = request.partition(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.splitlines()
                    if line.lower().startswith(b"content-l")
                )
                while len(body) < length:
                    body += connection.recv(65536)
                self.requests.append(head + b"\n" + body)
                with contextlib.suppress(ConnectionError):  # a client that has its result reads no further
                    for piece in self.answers.pop(0):
                        connection.sendall(piece)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        find_paths().daemon_socket.unlink()


@pytest.fixture
def daemon(banger_dirs: BangerDirs) -> Iterator[FakeDaemon]:
    daemon = FakeDaemon()
    yield daemon
    daemon.close()


def answer(body: bytes, *, status: str = "200 OK", kind: str = "application/json", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def call(**more: Any) -> dict[str, Any]:
    return Client().call("vm.list", {"a": "ä"}, start=False, **more)


def events_of(daemon: FakeDaemon, *pieces: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    daemon.answers.append(list(pieces))
    events: list[dict[str, Any]] = []
    return call(on_event=events.append), events


def test_request_is_whole_and_names_operation_and_fingerprint(daemon: FakeDaemon) -> None:
    daemon.answers.append([answer(b'{"ok": 1}')])
    assert call() == {"ok": 1}
    head, _, body = daemon.requests[0].rpartition(b"\n")
    assert head.startswith(b"POST /v1/vm.list HTTP/1.1\r\n")
    assert b"\r\nAccept: application/json\r\n" in head and b"\r\nBanger-Fingerprint: " in head
    assert json.loads(body) == {"a": "ä"}


def test_events_are_given_as_they_come_and_the_result_is_returned(daemon: FakeDaemon) -> None:
    lines = b'{"event":"stage","stage":"x"}\n{"event":"result","result":{"n":1}}\n'
    result, events = events_of(daemon, CHUNKED, chunk(lines), b"0\r\n\r\n")
    assert result == {"n": 1} and events == [{"event": "stage", "stage": "x"}]
    assert b"Accept: application/x-ndjson" in daemon.requests[0]


def test_lines_may_be_cut_anywhere_by_chunks_and_chunks_by_packets(daemon: FakeDaemon) -> None:
    lines = '{"event":"stage","stage":"ä"}\n\n{"event":"result","result":{}}\n'.encode()
    whole = b"".join(chunk(lines[at : at + 3]) for at in range(0, len(lines), 3)) + b"0\r\n\r\n"
    result, events = events_of(daemon, CHUNKED, *(whole[at : at + 1] for at in range(len(whole))))
    assert result == {} and [event["stage"] for event in events] == ["ä"]


def test_chunk_larger_than_any_buffer(daemon: FakeDaemon) -> None:
    big = "x" * 1_000_000
    lines = json.dumps({"event": "result", "result": {"text": big}}).encode() + b"\n"
    assert events_of(daemon, CHUNKED, chunk(lines), b"0\r\n\r\n")[0] == {"text": big}


def test_problem_is_raised_as_what_the_daemon_raised(daemon: FakeDaemon) -> None:
    problem = ConflictError("taken", hint="another", plugin="p", step="s").to_problem() | {"op_id": "op-1"}
    body = json.dumps(problem).encode()
    daemon.answers.append([answer(body, status="409 Conflict", kind="application/problem+json")])
    with pytest.raises(ConflictError, match="taken") as caught:
        call()
    assert (caught.value.hint, caught.value.op_id, caught.value.step) == ("another", "op-1", "s")


def test_problem_among_the_events_is_raised_too(daemon: FakeDaemon) -> None:
    line = json.dumps({"event": "error", "error": UsageError("no").to_problem()}).encode() + b"\n"
    with pytest.raises(UsageError, match="no"):
        events_of(daemon, CHUNKED, chunk(line), b"0\r\n\r\n")


def test_refusal_before_any_event_is_raised_although_events_were_asked_for(daemon: FakeDaemon) -> None:
    body = json.dumps(UsageError("no").to_problem()).encode()
    with pytest.raises(UsageError):
        events_of(daemon, answer(body, status="400 Bad Request", kind="application/problem+json"))


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"HTTP/1.1 200"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"],
        [CHUNKED],
        [CHUNKED, b"5"],
        [CHUNKED, b"ff\r\n{"],
        [CHUNKED, chunk(b'{"event":"stage","stage":"x"}\n')],
        [CHUNKED, chunk(b'{"event":"res')],
    ],
)
@pytest.mark.parametrize("events", [True, False])
def test_daemon_that_ends_in_the_middle_is_one_clear_error(
    daemon: FakeDaemon, pieces: list[bytes], events: bool
) -> None:
    daemon.answers.append(pieces)
    with pytest.raises(DaemonError, match="ended while it answered") as caught:
        call(**({"on_event": lambda event: None} if events else {}))
    assert "daemon logs" in (caught.value.hint or "")


def test_events_that_end_without_an_outcome_are_one_clear_error(daemon: FakeDaemon) -> None:
    with pytest.raises(DaemonError, match="ended while it answered"):
        events_of(daemon, CHUNKED, chunk(b'{"event":"stage","stage":"x"}\n'), b"0\r\n\r\n")


@pytest.mark.parametrize(
    "whole", [b"SSH-2.0-OpenSSH\r\n\r\n", answer(b"<html>"), answer(b"[]"), answer(b"no", status="502 Bad")]
)
def test_answer_that_makes_no_sense_is_one_clear_error(daemon: FakeDaemon, whole: bytes) -> None:
    daemon.answers.append([whole])
    with pytest.raises(DaemonError) as caught:
        call()
    assert caught.value.hint


def test_stale_daemon_is_asked_again_once_another_is_there(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer says that the daemon ends; the next connection finds its successor."""
    stale = json.dumps({"type": "banger:stale-daemon", "detail": "old"}).encode()
    body = answer(stale, status="503 x", kind="application/problem+json")
    daemon.answers += [[body], [answer(b'{"new": 1}')]]
    waited: list[int] = []
    monkeypatch.setattr("banger.cli.client.wait_ended", lambda pid, timeout: waited.append(pid))
    assert Client().call("vm.list", start=False) == {"new": 1}
    assert waited == [os.getpid()], "the process that answered, which is this one"


def test_notice_is_printed_once(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    client = Client()
    for _ in range(2):
        daemon.answers.append([answer(b"{}", extra="Banger-Notice: it is old\r\n")])
        client.call("vm.list", start=False)
    assert capsys.readouterr().err == "note: it is old\n"


def test_no_daemon_is_said_plainly_where_none_is_to_be_started(banger_dirs: BangerDirs) -> None:
    with pytest.raises(DaemonError, match="does not run") as caught:
        call()
    assert caught.value.hint


def environment(*names: str) -> dict[str, str]:
    return read_environment(names)


def test_environment_is_passed_by_name_or_with_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "value")
    assert environment("HERE", "A=b=c", "EMPTY=") == {"HERE": "value", "A": "b=c", "EMPTY": ""}


@pytest.mark.parametrize("text", ["NOT_HERE_AT_ALL", "", "=x"])
def test_variable_that_is_not_there_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        environment(text)


def test_every_error_the_client_raises_is_ours(daemon: FakeDaemon) -> None:
    makers: list[Callable[[], bytes]] = [lambda: b"\r\n\r\n", lambda: b"HTTP/1.1 200 OK\r\n\r\n"]
    for make in makers:
        daemon.answers.append([make()])
        with pytest.raises(BangerError):
            call()


def test_a_service_that_does_not_answer_is_named(
    banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_SERVICE_TIMEOUT", 0.0)
    socket = banger_dirs.home / "gone.sock"
    with pytest.raises(DaemonError, match=f"no daemon answers at {socket}") as caught:
        Client(socket).call("daemon.status")
    assert caught.value.hint == "is BANGER_SOCKET right?"
    assert not banger_dirs.state.exists(), "no daemon was started"
