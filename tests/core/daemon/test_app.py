"""The daemon's HTTP side over its real socket."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from banger.daemon.app import BODY_LIMIT
from banger.errors import CancelledError, ConflictError, HostError
from banger.model.command import Operation
from banger.testing.app import Answer, BangerApp
from banger.testing.plugin_sets import make_plugin
from banger.testing.pytest_plugin import MakeApp

OP_ID = re.compile(r"op-[0-9a-f]{12}\Z")
NDJSON = {"Accept": "application/x-ndjson"}


class Empty(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = ""


release = threading.Event()


def fail(op: Any, params: Text) -> Text:
    raise ConflictError("it is taken", hint="choose another", plugin="echo", step="none")


def fail_twice(op: Any, params: Text) -> Text:
    raise ExceptionGroup("it broke", [HostError("it broke", hint="mend"), RuntimeError("a lock stayed")])


def bug(op: Any, params: Text) -> Text:
    raise ZeroDivisionError("1/0")


def leave(op: Any, params: Text) -> Text:
    raise SystemExit(3)


def stages(op: Any, params: Text) -> Text:
    for number in range(3):
        op.progress(f"stage {number}", params.text, done=number, total=3)
    return Text(text="done")


def wait(op: Any, params: Text) -> Text:
    op.progress("waiting")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not release.is_set():
        op.check_cancelled()
        time.sleep(0.01)
    return Text(text="waited")


async def on_loop(op: Any, params: Text) -> Text:
    await asyncio.sleep(0)
    return Text(text=str(threading.current_thread() is not threading.main_thread()))


def banger_register_operations() -> list[Operation]:
    functions: list[tuple[str, Callable[..., Any]]] = [
        ("echo", lambda op, params: params),
        ("fail", fail),
        ("fail-twice", fail_twice),
        ("bug", bug),
        ("leave", leave),
        ("stages", stages),
        ("wait", wait),
        ("on-loop", on_loop),
    ]
    return [Operation(f"test.{name}", f"{name} something", Text, Text, run) for name, run in functions]


@pytest.fixture
def plugin() -> ModuleType:
    return make_plugin("echo", banger_register_operations)


@pytest.fixture
def app(banger_app: MakeApp, plugin: ModuleType) -> BangerApp:
    release.clear()
    return banger_app(plugin, builtin=["core"])


def problem(answer: Answer, status: int) -> dict[str, Any]:
    """Check what every refusal has, and return it."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json
    assert OP_ID.match(found["op_id"]) and answer.headers["banger-op-id"] == found["op_id"]
    assert found["status"] == status and found["type"].startswith("banger:") and found["detail"]
    assert "\n" not in found["detail"] and "Traceback" not in json.dumps(found)
    return found


def test_answer_carries_the_operations_id(app: BangerApp) -> None:
    answers = [app.request("/v1/test.echo", b'{"text": "hi"}') for _ in range(2)]
    assert [answer.json for answer in answers] == [{"text": "hi"}] * 2
    ids = [answer.headers["banger-op-id"] for answer in answers]
    assert all(map(OP_ID.match, ids)) and ids[0] != ids[1]


def test_error_of_an_operation_is_a_problem_with_all_it_says(app: BangerApp) -> None:
    found = problem(app.request("/v1/test.fail"), 409)
    assert (found["type"], found["title"]) == ("banger:conflict", "ConflictError")
    assert (found["detail"], found["hint"]) == ("it is taken", "choose another")
    assert (found["plugin"], found["step"]) == ("echo", "none")


def test_several_errors_are_the_first_and_what_failed_while_cleaning_up(app: BangerApp) -> None:
    found = problem(app.request("/v1/test.fail-twice"), 500)
    assert found["type"] == "banger:host" and found["hint"] == "mend"
    assert found["detail"].startswith("it broke (and while cleaning up: a lock stayed")


@pytest.mark.parametrize(("name", "kind"), [("bug", "ZeroDivisionError"), ("leave", "SystemExit")])
def test_bug_is_one_line_for_the_client_and_a_traceback_in_the_log(
    app: BangerApp, name: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = problem(app.request(f"/v1/test.{name}"), 500)
    assert found["type"] == "banger:internal" and kind in found["detail"]
    assert "banger daemon logs" in found["hint"]
    assert "Traceback" in caplog.text
    assert app.call("test.echo", {"text": "alive"}) == {"text": "alive"}


def test_unknown_operation_is_refused_with_a_suggestion(app: BangerApp) -> None:
    assert problem(app.request("/v1/test.ecko"), 404)["hint"] == "did you mean 'test.echo'?"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/test.echo", 405),
        ("DELETE", "/v1/vm.list", 405),
        ("POST", "/", 404),
        ("GET", "/v2/vm.list", 404),
    ],
)
def test_refusals_of_the_router_are_problems_too(app: BangerApp, method: str, path: str, status: int) -> None:
    problem(app.request(path, method=method), status)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"text",
        b"\xff\xfe",
        b"[]",
        b"7",
        b'{"text": 7}',
        b'{"text": "x", "unknown": 1}',
        b"[" * 100_000,
    ],
)
def test_body_that_does_not_fit_is_a_usage_error(app: BangerApp, body: bytes) -> None:
    assert problem(app.request("/v1/test.echo", body), 400)["type"] == "banger:usage"


def test_text_that_is_no_utf8_comes_back_as_it_went_in_refusals_too(app: BangerApp) -> None:
    assert app.request("/v1/test.echo", b'{"text": "\\udcff"}').json == {"text": "\udcff"}
    assert "\udcff" in problem(app.request("/v1/vm.create", b'{"name": "x\\udcff"}'), 400)["detail"]


def test_empty_body_means_no_parameters(app: BangerApp) -> None:
    assert app.request("/v1/test.echo", b"").json == {"text": ""}


def test_body_over_the_limit_is_refused_and_one_below_it_is_taken(app: BangerApp) -> None:
    text = "x" * (BODY_LIMIT - 100)
    assert app.request("/v1/test.echo", json.dumps({"text": text}).encode()).json == {"text": text}
    found = problem(app.request("/v1/test.echo", json.dumps({"text": text + text}).encode()), 400)
    assert str(BODY_LIMIT) in found["detail"]


def test_events_come_as_lines_and_end_with_the_result(app: BangerApp) -> None:
    answer = app.request("/v1/test.stages", b'{"text": "x"}', headers=NDJSON)
    assert answer.headers["content-type"] == "application/x-ndjson"
    first, *between, last = answer.events
    assert first["event"] == "operation" and first["op_id"] == answer.headers["banger-op-id"]
    assert [(event["stage"], event["done"], event["total"]) for event in between] == [
        ("stage 0", 0, 3),
        ("stage 1", 1, 3),
        ("stage 2", 2, 3),
    ]
    assert last == {"event": "result", "result": {"text": "done"}}


def test_failed_operation_ends_its_events_with_the_problem(app: BangerApp) -> None:
    last = app.request("/v1/test.fail", headers=NDJSON).events[-1]
    assert last["event"] == "error" and last["error"]["detail"] == "it is taken"
    assert OP_ID.match(last["error"]["op_id"])


def follow(app: BangerApp, op_id: str, *, seconds: float = 10) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        shown = app.call("op.show", {"op_id": op_id})
        if shown["done"]:
            return shown
        time.sleep(0.01)
    raise AssertionError("the operation did not end")


def start_waiting(app: BangerApp) -> str:
    answer = app.request("/v1/test.wait", headers={"Prefer": "respond-async"})
    assert answer.status == 202
    assert answer.json == {"op_id": answer.headers["banger-op-id"], "name": "test.wait"}
    return str(answer.json["op_id"])


def test_respond_async_answers_at_once_with_an_operation_to_follow(app: BangerApp) -> None:
    op_id = start_waiting(app)
    assert app.call("op.show", {"op_id": op_id})["done"] is False
    release.set()
    shown = follow(app, op_id)
    assert shown["error"] is None and shown["stage"] == "waiting" and shown["name"] == "test.wait"
    assert op_id in [summary["op_id"] for summary in app.call("op.list")["operations"]]


def test_cancelled_operation_ends_with_cancelled(app: BangerApp) -> None:
    op_id = start_waiting(app)
    app.call("op.cancel", {"op_id": op_id})
    shown = follow(app, op_id)
    assert shown["error"]["type"] == f"banger:{CancelledError.type}"
    assert app.call("op.cancel", {"op_id": op_id})["done"], "cancelling twice does no harm"


def test_operation_nobody_knows_cannot_be_shown_or_cancelled(app: BangerApp) -> None:
    for name in ("op.show", "op.cancel"):
        problem(app.request(f"/v1/{name}", b'{"op_id": "op-000000000000"}'), 404)


def test_client_that_goes_away_does_not_end_the_operation(app: BangerApp) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(app.paths.daemon_socket))
        client.sendall(
            b"POST /v1/test.wait HTTP/1.1\r\nHost: b\r\nAccept: application/x-ndjson\r\nContent-Length: 2\r\n\r\n{}"
        )
        assert client.recv(4096)
    time.sleep(0.1)
    [record] = [record for record in app.services.operations.all() if record.name == "test.wait"]
    assert record.finished is None and not record.cancel.is_set()
    release.set()
    assert follow(app, record.id)["error"] is None


def test_async_operation_runs_on_the_daemons_loop(app: BangerApp) -> None:
    assert app.call("test.on-loop") == {"text": "True"}


def test_idle_daemon_with_another_fingerprint_ends_itself(app: BangerApp) -> None:
    found = problem(app.request("/v1/test.echo", headers={"Banger-Fingerprint": "another"}), 503)
    assert found["type"] == "banger:stale-daemon"
    assert app.join(), "the stale daemon goes on"
    assert not app.paths.daemon_socket.exists()


def test_busy_daemon_with_another_fingerprint_answers_with_a_notice(app: BangerApp) -> None:
    start_waiting(app)
    answer = app.request("/v1/test.echo", b'{"text": "hi"}', headers={"Banger-Fingerprint": "another"})
    assert answer.json == {"text": "hi"}
    assert "busy" in answer.headers["banger-notice"]
    release.set()


def test_daemon_with_the_same_fingerprint_says_nothing(app: BangerApp) -> None:
    headers = {"Banger-Fingerprint": app.services.fingerprint_digest}
    assert "banger-notice" not in app.request("/v1/test.echo", headers=headers).headers


def test_busy_daemon_is_stopped_only_by_force(app: BangerApp) -> None:
    start_waiting(app)
    with pytest.raises(ConflictError, match="test.wait") as caught:
        app.call("daemon.stop")
    assert "--force" in (caught.value.hint or "")
    release.set()
    app.call("daemon.stop", {"force": True})
    assert app.join()


def test_finished_operations_are_kept_but_not_for_ever(
    app: BangerApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banger.daemon.context.KEEP_COUNT", 5)
    for number in range(12):
        app.call("test.echo", {"text": str(number)})
    assert len(app.call("op.list")["operations"]) <= 5 + 1


def test_status_counts_what_it_should(app: BangerApp) -> None:
    status = app.call("daemon.status")
    assert status["operations"] == 0 and status["running_vms"] == 0
    assert status["state_directory"] == str(app.paths.state) and status["memory_mib"] > 1
