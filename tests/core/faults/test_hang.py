"""A guest that hangs is ended, and nobody waits for it longer than it takes to see that."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from banger.errors import CancelledError
from banger.host.process import process_start_time
from tests.core.faults.matrix import Matrix, clean_matrix

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def matrix() -> Iterator[Matrix]:
    with clean_matrix() as matrix:
        yield matrix


def test_a_guest_that_does_not_answer_is_ended(matrix: Matrix) -> None:
    vm = matrix.call("vm.create", {})["vm"]
    pid = matrix.call("vm.show", {"vm": vm["id"]})["pid"]
    assert matrix.call("vm.health", {"vm": vm["id"]})["healthy"]
    os.kill(pid, signal.SIGSTOP)
    assert matrix.call("vm.stop", {"vm": vm["id"]})["vm"]["state"] == "stopped"
    assert process_start_time(pid) is None
    said = (matrix.paths.state / "bangerd.log").read_text()
    assert said.count("could not be asked to power off") == 1


def test_a_stop_is_cancelled_while_the_guest_is_asked(matrix: Matrix) -> None:
    vm = matrix.call("vm.create", {})["vm"]
    pid = matrix.call("vm.show", {"vm": vm["id"]})["pid"]
    os.kill(pid, signal.SIGSTOP)

    ids: list[str] = []

    def cancel(event: dict[str, Any]) -> None:
        if event["event"] == "operation":
            ids.append(event["op_id"])
        elif event.get("stage") == "stop":
            matrix.call("op.cancel", {"op_id": ids[0]})

    with pytest.raises(CancelledError):
        matrix._client.call("vm.stop", {"vm": vm["id"]}, start=False, on_event=cancel)
    detail = matrix.call("vm.show", {"vm": vm["id"]})
    assert (detail["vm"]["state"], detail["pid"]) == ("running", pid)
    matrix.call("vm.kill", {"vm": vm["id"]})  # it would obey what it was asked, once it went on
