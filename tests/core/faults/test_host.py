"""The host goes down with everything on it: the next daemon finds VMs that are whole."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from banger.errors import BangerError
from banger.host.process import process_start_time
from tests.core.faults.matrix import Matrix, clean_matrix

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def matrix() -> Iterator[Matrix]:
    with clean_matrix() as matrix:
        yield matrix


def end(pid: int) -> None:
    """End a process as a power cut does, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while process_start_time(pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_after_a_restart_of_the_host_vms_are_stopped_and_start_again(matrix: Matrix) -> None:
    names = [matrix.call("vm.create", {"publish": ["18080:80"]})["vm"]["name"] for _ in range(2)]
    down = matrix.call("vm.create", {"start": False})["vm"]["name"]
    pids = [matrix.call("vm.show", {"vm": name})["pid"] for name in names]
    matrix.call("fault.arm", {"place": "row stopping", "when": "after", "kind": "kill"})
    with pytest.raises(BangerError):  # it is cut off in the middle of a stop
        matrix.call("vm.stop", {"vm": names[1]})
    matrix._daemons.reap()
    for pid in pids:
        end(pid)
    matrix.start()
    for name in names:
        shown = matrix.call("vm.show", {"vm": name})
        assert (shown["vm"]["state"], shown["pid"], shown["holds"]) == ("stopped", None, [])
    assert matrix.call("vm.show", {"vm": down})["vm"]["state"] == "created"
    assert matrix.leaks() == []
    for name in (*names, down):
        assert matrix.call("vm.start", {"vm": name})["vm"]["state"] == "running"
