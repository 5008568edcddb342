"""``op list``, ``op follow`` and ``op cancel``, and what a killed daemon was at."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from types import ModuleType

import pytest
from pydantic import BaseModel, ConfigDict

from banger.cli.client import Client
from banger.daemon.context import OperationContext, OperationTable
from banger.daemon.main import write_commands
from banger.errors import BangerError
from banger.model.command import Operation
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from banger.testing.pytest_plugin import MakeApp, RunCli


class Nothing(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def app(banger_app: MakeApp, go_on: threading.Event) -> BangerApp:
    def dig(op: OperationContext, _: BaseModel) -> Nothing:
        op.progress("dig", "a hole")
        while not go_on.wait(0.02):
            op.check_cancelled()
        return Nothing()

    def banger_register_operations() -> list[Operation]:
        return [Operation("garden.dig", "dig", Nothing, Nothing, dig)]

    garden: ModuleType = make_plugin("garden", banger_register_operations)
    app = banger_app(garden, builtin=["core", "operations"])
    write_commands(app.services)
    return app


def dig(app: BangerApp) -> tuple[str, threading.Thread]:
    """Begin to dig; return the operation's id once it is under way."""
    known = {each["op_id"] for each in app.call("op.list")["operations"]}

    def call() -> None:
        try:
            Client().call("garden.dig")
        except BangerError:
            pass

    thread = threading.Thread(target=call)
    thread.start()
    deadline = time.monotonic() + 30
    while True:
        for each in app.call("op.list")["operations"]:
            if each["name"] == "garden.dig" and each["stage"] == "dig" and each["op_id"] not in known:
                return each["op_id"], thread
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_under_way_is_listed_and_followed(
    app: BangerApp, go_on: threading.Event, run_cli: RunCli
) -> None:
    assert "nothing is under way" in run_cli("op", "list").stderr
    op_id, thread = dig(app)
    assert (app.paths.operations / op_id).exists()
    [row] = [line for line in run_cli("op", "list").stdout.splitlines() if op_id in line]
    assert "garden.dig" in row and "under way" in row and row.rstrip().endswith("dig")
    threading.Timer(0.1, go_on.set).start()
    followed = run_cli("op", "follow", op_id)
    assert (followed.status, followed.stdout) == (0, "garden.dig done\n")
    thread.join(30)
    assert not (app.paths.operations / op_id).exists()
    assert json.loads(run_cli("op", "list", "--json").stdout) == []
    states = {
        each["op_id"]: each["error"] for each in json.loads(run_cli("op", "list", "-a", "--json").stdout)
    }
    assert states[op_id] is None


def test_one_is_cancelled(app: BangerApp, run_cli: RunCli) -> None:
    op_id, thread = dig(app)
    cancelled = run_cli("op", "cancel", op_id)
    assert cancelled.status == 0
    assert cancelled.stdout.startswith("garden.dig cancelled: ")
    thread.join(30)
    assert "it was over already" in run_cli("op", "cancel", op_id).stderr
    assert run_cli("op", "follow", op_id).status == 1
    unknown = run_cli("op", "cancel", "op-unknown")
    assert unknown.status == 1 and "there is no operation 'op-unknown'" in unknown.stderr


def test_what_a_killed_daemon_was_at_is_shown_as_interrupted(app: BangerApp, run_cli: RunCli) -> None:
    folder = app.paths.operations
    folder.mkdir(exist_ok=True)
    (folder / "op-aaaaaaaaaaaa").write_text(json.dumps({"name": "vm.create", "started": time.time() - 5}))
    for name, content in (("op-b", ""), ("op-c", "{"), ("op-d", "[]"), ("op-e", '{"name": 1}')):
        (folder / name).write_text(content)
    table: OperationTable = app.services.operations
    table.recover(folder)
    assert list(folder.iterdir()) == []
    [row] = [line for line in run_cli("op", "list", "--all").stdout.splitlines() if "op-aaaaaaaaaaaa" in line]
    assert "vm.create" in row and "interrupted" in row
    assert run_cli("op", "follow", "op-aaaaaaaaaaaa").status == 1


def test_looking_leaves_no_note(app: BangerApp, run_cli: RunCli) -> None:
    run_cli("vm", "list")
    folder = app.paths.operations
    assert not folder.exists() or list(folder.iterdir()) == []
