"""What goes when the client that asked for it goes, at whatever moment that is."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from banger.cli.client import Client
from banger.errors import ConflictError, NotFoundError
from banger.model.command import Lease, Operation
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from banger.testing.pytest_plugin import MakeApp


class Make(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    thing: str
    leased: bool = True
    fails: bool = False


class Made(BaseModel):
    thing: str


class Shelf:
    """Things that an operation makes; ``go`` lets it finish."""

    def __init__(self) -> None:
        self.things: set[str] = set()
        self.begun, self.go = threading.Event(), threading.Event()

    def make(self, op: Any, params: Make) -> Made:
        self.begun.set()
        assert self.go.wait(20)
        if params.fails:
            raise ConflictError("it is taken")
        self.things.add(params.thing)
        return Made(thing=params.thing)

    def take_away(self, op: Any, result: dict[str, Any]) -> None:
        assert not op.cancelled()
        if result["thing"] not in self.things:
            raise NotFoundError("it is gone")
        self.things.remove(result["thing"])


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def app(banger_app: MakeApp, shelf: Shelf) -> BangerApp:
    def banger_register_operations() -> list[Operation]:
        lease = Lease(lambda params: params.leased, shelf.take_away)
        return [Operation("make", "make a thing", Make, Made, shelf.make, lease=lease)]

    plugin: ModuleType = make_plugin("shelf", banger_register_operations)
    return banger_app(plugin, builtin=["core"])


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def idle(app: BangerApp) -> bool:
    services = app.services
    return not (services.leases or services.background or services.operations.running())


@pytest.fixture
def asked(app: BangerApp) -> Iterator[socket.socket]:
    """A connection on which a thing was asked for, and no byte of the answer read."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(app.paths.daemon_socket))
        body = json.dumps({"thing": "cup"}).encode()
        connection.sendall(
            b"POST /v1/make HTTP/1.1\r\nHost: banger\r\nAccept: application/x-ndjson\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        yield connection


def test_what_is_made_goes_when_its_client_goes(app: BangerApp, shelf: Shelf) -> None:
    shelf.go.set()
    client = Client()
    assert client.call("make", {"thing": "cup"}, on_event=lambda _: None, hold=True) == {"thing": "cup"}
    assert shelf.things == {"cup"} and len(app.services.leases) == 1
    client.release()
    until(lambda: idle(app))
    assert shelf.things == set()


def test_client_that_goes_before_the_end_leaves_nothing_although_the_operation_went_on(
    app: BangerApp, shelf: Shelf, asked: socket.socket
) -> None:
    """The operation has passed its last look at the cancellation when the client goes."""
    assert shelf.begun.wait(10)
    asked.close()
    until(lambda: app.services.background)
    shelf.go.set()
    until(lambda: idle(app))
    assert shelf.things == set()


def test_client_that_goes_between_the_result_and_its_next_call_leaves_nothing(
    app: BangerApp, shelf: Shelf, asked: socket.socket
) -> None:
    shelf.go.set()
    until(lambda: shelf.things)
    asked.close()
    until(lambda: idle(app))
    assert shelf.things == set()


def test_client_that_goes_at_any_moment_leaves_nothing(app: BangerApp, shelf: Shelf) -> None:
    shelf.go.set()
    body = json.dumps({"thing": "cup"}).encode()
    for moment in range(60):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(app.paths.daemon_socket))
            connection.sendall(
                b"POST /v1/make HTTP/1.1\r\nHost: banger\r\nAccept: application/x-ndjson\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            time.sleep(moment / 5000)
    until(lambda: idle(app))
    assert shelf.things == set()


def test_what_is_kept_stays_and_only_what_is_held_can_be_kept(app: BangerApp, shelf: Shelf) -> None:
    shelf.go.set()
    client, ids = Client(), []
    client.call("make", {"thing": "cup"}, on_event=lambda event: ids.append(event.get("op_id")), hold=True)
    app.call("op.keep", {"op_id": ids[0]})
    until(lambda: idle(app))
    client.release()
    assert shelf.things == {"cup"}
    with pytest.raises(ConflictError, match="no client holds"):
        app.call("op.keep", {"op_id": ids[0]})


def test_without_a_lease_and_after_a_failure_there_is_nothing_to_take_away(
    app: BangerApp, shelf: Shelf
) -> None:
    shelf.go.set()
    client = Client()
    client.call("make", {"thing": "cup", "leased": False}, on_event=lambda _: None, hold=True)
    client.release()
    with pytest.raises(ConflictError, match="it is taken"):
        Client().call("make", {"thing": "jug", "fails": True}, on_event=lambda _: None, hold=True)
    until(lambda: idle(app))
    assert shelf.things == {"cup"}


def test_what_somebody_else_took_away_is_no_error(
    app: BangerApp, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.go.set()
    client = Client()
    client.call("make", {"thing": "cup"}, on_event=lambda _: None, hold=True)
    shelf.things.clear()
    client.release()
    until(lambda: idle(app))
    assert "could not be taken away" not in caplog.text


def test_daemon_that_is_to_end_says_what_is_held_and_takes_nothing_away_when_forced(
    app: BangerApp, shelf: Shelf
) -> None:
    shelf.go.set()
    client = Client()
    client.call("make", {"thing": "cup"}, on_event=lambda _: None, hold=True)
    with pytest.raises(ConflictError, match="make"):
        app.call("daemon.stop")
    app.call("daemon.stop", {"force": True})
    assert app.join()
    client.release()
    assert shelf.things == {"cup"}
