"""The helper's socket: who may call, what a call may look like, what the log says."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banger.errors import HostError, UsageError
from banger.helper.requests import ShowBridge, ShowStatus
from banger.helper.server import Server, bind
from banger.helper.wire import BODY_LIMIT, HEAD_LIMIT, Message, compose, receive
from banger.host.caller import current_op
from banger.host.privileged import HostPrivileged

UID = os.getuid()


@dataclass
class Asked:
    """What a call got, and what the log says of it."""

    answer: Message
    log: dict[str, Any]

    @property
    def status(self) -> int:
        return int(self.answer.first.split()[1])


def ask(data: bytes, owner: int = UID, *, close: bool = False, patience: float = 20.0) -> Asked:
    """Send bytes to a server over a pair of sockets and return what comes back."""
    log = io.StringIO()
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(20)
        thread = threading.Thread(target=lambda: Server(owner, log, patience).answer(there))
        thread.start()
        here.sendall(data)
        if close:
            here.shutdown(socket.SHUT_WR)
        answer = receive(here, 20)
        here.shutdown(socket.SHUT_RDWR)
        thread.join(20)
        return Asked(answer, json.loads(log.getvalue()))


def call(operation: str, body: Any, **headers: str) -> bytes:
    return compose(f"POST /v1/{operation} HTTP/1.1", body, **headers)


def test_a_call_is_answered_and_logged_with_its_operation_id() -> None:
    asked = ask(call("helper.status", {}, Banger_Op_Id="op-7"))
    assert asked.status == 200
    assert asked.answer.json() == {
        "version": asked.answer.json()["version"],
        "pid": os.getpid(),
        "owner": UID,
    }
    assert asked.answer.headers["banger-op-id"] == "op-7"
    assert {key: asked.log[key] for key in ("op", "op_id", "uid", "pid", "status")} == {
        "op": "helper.status",
        "op_id": "op-7",
        "uid": UID,
        "pid": os.getpid(),
        "status": 200,
    }
    assert asked.log["ms"] >= 0


def test_another_user_is_refused_and_logged() -> None:
    """Root may always call: the peer is another one than that, and the owner."""
    log = io.StringIO()
    code = (
        "import os, socket; os.setuid(65534) if os.getuid() == 0 else None\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(os.environ['WHERE'])\n"
        "s.sendall(b'POST /v1/helper.status HTTP/1.1\\r\\nContent-Length: 2\\r\\n\\r\\n{}')\n"
        "print(s.makefile('rb').read().decode())"
    )
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        Path(folder).chmod(0o755)
        listener.bind(f"{folder}/s")
        Path(folder, "s").chmod(0o666)
        listener.listen(1)
        listener.settimeout(20)
        with subprocess.Popen(
            [sys.executable, "-I", "-c", code], env={"WHERE": f"{folder}/s"}, stdout=subprocess.PIPE
        ) as peer:
            connection, _ = listener.accept()
            with connection:
                Server(UID + 1, log).answer(connection)
            out, _ = peer.communicate(timeout=20)
    assert b"HTTP/1.1 403" in out and b"is not the owner" in out
    line = json.loads(log.getvalue())
    assert (line["status"], line["op"]) == (403, "-")
    assert line["uid"] == (65534 if UID == 0 else UID)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "no call of an operation"),
        (b"POST /v1/../../etc HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "no call of an operation"),
        (call("shell.run", {}), "there is no operation 'shell.run'"),
        (call("helper.status", {"more": 1}), "has exactly: nothing"),
        (call("bridge.remove", {"bridge": "eth0", "mark": "0123abcd"}), "does not fit"),
        (b"POST /v1/helper.status HTTP/1.1\r\nContent-Length: 4\r\n\r\n{nop", "no JSON"),
        (b"POST /v1/helper.status HTTP/1.1\r\nContent-Length: 90000\r\n\r\n" + b"[" * 90000, "no JSON"),
        (b"POST /v1/helper.status HTTP/1.1\r\n\r\n", "length of the body is not given"),
        (b"POST /v1/helper.status HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "length of the body"),
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1), "body is too large"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "length of the body is not given"),
        (b"POST / HTTP/1.1\r\nA: 1\r\nA: 2\r\n\r\n", "head is malformed"),
        (b"x" * (HEAD_LIMIT + 5000), "head is too large"),
        (b"\xff\r\n\r\n", "not ASCII"),
        (call("helper.status", {}) + b"{}", "more than one message"),
    ],
)
def test_what_is_no_call_is_refused_and_logged(data: bytes, says: str) -> None:
    asked = ask(data)
    assert asked.status == 400
    assert says in asked.answer.json()["detail"]
    assert asked.log["status"] == 400 and says in asked.log["detail"]


def test_a_caller_that_goes_away_or_says_nothing_is_dropped() -> None:
    gone = ask(b"POST /v1/helper.status HTTP/1.1\r\n", close=True)
    assert gone.log["status"] == 500 and "went away" in gone.log["detail"]
    slow = ask(b"POST /v1/helper.status HTTP/1.1\r\n", patience=0.05)
    assert "too slow" in slow.log["detail"]


def test_a_strange_operation_id_is_not_repeated() -> None:
    asked = ask(call("helper.status", {}, Banger_Op_Id="x y"))
    assert (asked.status, asked.log["op_id"]) == (200, "-")


@settings(max_examples=40)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_refusal_and_one_line_of_log(data: bytes) -> None:
    asked = ask(data, close=True)
    assert asked.status >= 400 and asked.log["status"] == asked.status


@settings(max_examples=30)
@given(st.binary(max_size=60), st.integers(0, 200))
def test_a_call_with_bytes_changed_is_answered(noise: bytes, position: int) -> None:
    good = call("bridge.show", {"bridge": "eth0", "mark": "0123abcd"})
    asked = ask(good[:position] + noise + good[position + len(noise) :], close=True)
    assert asked.status >= 400, "eth0 is nobody's to ask for"


def test_receive_names_what_is_wrong() -> None:
    here, there = socket.socketpair()
    with here, there:
        there.close()
        with pytest.raises(HostError, match="went away"):
            receive(here, 1)
    with pytest.raises(UsageError):
        Message("", {}, b"{").json()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[HostPrivileged, io.StringIO]]:
    """A server of this user's on a real socket, and the client's seam to it."""
    log = io.StringIO()
    path = tmp_path / "helper.sock"
    server = Server(UID, log)
    with bind(path, UID) as listener:
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        client = HostPrivileged(path)
        yield client, log
        server._ending = True
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(path))
        thread.join(20)
        assert not thread.is_alive()


def test_the_seam_asks_the_helper_where_there_is_one(served: tuple[HostPrivileged, io.StringIO]) -> None:
    client, log = served
    assert client.find() == "helper"
    token = current_op.set("op-12")
    try:
        assert client.call(ShowStatus())["owner"] == UID
    finally:
        current_op.reset(token)
    assert json.loads(log.getvalue().splitlines()[0])["op_id"] == "op-12"


def test_a_refusal_of_the_helper_is_the_same_error_here(
    served: tuple[HostPrivileged, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = served
    monkeypatch.setattr("banger.host.privileged.fields_of", lambda request: {"bridge": "eth0", "mark": "x"})
    with pytest.raises(UsageError, match="does not fit"):
        client.call(ShowBridge("br-banger", "0123abcd"))


def test_the_socket_is_the_owners_alone_and_replaces_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "helper.sock"
    path.write_text("what an old one left")
    with bind(path, UID):
        assert path.is_socket() and path.stat().st_mode & 0o777 == 0o600 and path.stat().st_uid == UID
    assert [entry.name for entry in tmp_path.iterdir()] == ["helper.sock"]


def test_a_directory_in_which_others_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(HostError, match="others may write"):
        bind(tmp_path / "s", UID)
    with pytest.raises(HostError, match="No such file"):
        bind(tmp_path / "none" / "s", UID)


def test_without_root_and_helper_the_seam_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    seam = HostPrivileged(tmp_path / "none")
    assert seam.find() is None
    with pytest.raises(HostError) as refused:
        seam.call(ShowStatus())
    assert "--net user" in str(refused.value.hint)


def test_a_helper_that_is_started_again_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "helper.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
        old.listen(1)
    answered: list[Any] = []
    seam = HostPrivileged(path)
    thread = threading.Thread(target=lambda: answered.append(seam.call(ShowStatus())))
    thread.start()
    time.sleep(0.1)
    with bind(path, UID) as listener:
        connection, _ = listener.accept()
        with connection:
            Server(UID, io.StringIO()).answer(connection)
    thread.join(20)
    assert answered[0]["owner"] == UID


def run_isolated(code: str) -> str:
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "work", ["", "from banger.helper.links import open_links\nwith open_links() as l: l.find('lo')\n"]
)
def test_the_helper_loads_no_plugin_and_little_else(work: str) -> None:
    code = (
        f"import banger.helper.server, banger.helper.__main__\n{work}"
        "import sys, json; print(json.dumps(sorted(sys.modules)))"
    )
    loaded = json.loads(run_isolated(code))
    ours = {name for name in loaded if name.startswith("banger")}
    assert all(name in {"banger", "banger.errors"} or name.startswith("banger.helper") for name in ours), ours
    foreign = {"pluggy", "pydantic", "starlette", "uvicorn", "httpx", "paramiko", "cryptography", "click"}
    assert not foreign & {name.partition(".")[0] for name in loaded}
    assert ("pyroute2" in loaded) is bool(work), "imported at the first operation on links"
