"""What a VM holds, tampered with while no daemon runs: the next one ends nobody else's process."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from banger.errors import BangerError
from banger.host.process import process_start_time
from tests.core.faults.matrix import Matrix, clean_matrix

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def matrix() -> Iterator[Matrix]:
    with clean_matrix() as matrix:
        yield matrix


@pytest.fixture
def vm(matrix: Matrix) -> dict[str, Any]:
    """A VM that runs."""
    made: dict[str, Any] = matrix.call("vm.create", {})["vm"]
    return made


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's process."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def tamper(matrix: Matrix, vm: dict[str, Any], file: str | None, mirror: str | None = None) -> None:
    """Change the file (None: remove it), and its copy in the store where one is given; then start a daemon."""
    matrix.kill()
    path = matrix.paths.vms / vm["id"] / "handles.json"
    if file is None:
        path.unlink()
    else:
        path.write_text(file)
    if mirror is not None:
        store = sqlite3.connect(matrix.paths.database)
        with store:
            store.execute("UPDATE vms SET handles = ? WHERE id = ?", (mirror, vm["id"]))
        store.close()
    matrix.start()


def content(matrix: Matrix, vm: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((matrix.paths.vms / vm["id"] / "handles.json").read_text())
    return found


@pytest.mark.parametrize("damage", [None, "", "{", '{"version": 1, "sections": [{"st'])
def test_a_lost_or_torn_file_costs_nothing(matrix: Matrix, vm: dict[str, Any], damage: str | None) -> None:
    pid = matrix.call("vm.show", {"vm": vm["id"]})["pid"]
    tamper(matrix, vm, damage)
    detail = matrix.call("vm.show", {"vm": vm["id"]})
    assert (detail["vm"]["state"], detail["pid"]) == ("running", pid)
    matrix.call("vm.stop", {"vm": vm["id"]})


@pytest.mark.parametrize("operation", ["vm.stop", "vm.delete"])
def test_a_vm_whose_directory_is_gone_is_taken_down(
    matrix: Matrix, vm: dict[str, Any], operation: str
) -> None:
    pid = matrix.call("vm.show", {"vm": vm["id"]})["pid"]
    matrix.kill()
    shutil.rmtree(matrix.paths.vms / vm["id"])
    matrix.start()
    matrix.call(operation, {"vm": vm["id"]})
    assert process_start_time(pid) is None


def test_a_file_of_a_newer_banger_is_refused_and_its_vm_left_alone(
    matrix: Matrix, vm: dict[str, Any]
) -> None:
    kept = json.dumps(content(matrix, vm))
    tamper(matrix, vm, json.dumps({"version": 99, "sections": []}))
    with pytest.raises(BangerError, match="newer than this banger knows") as caught:
        matrix.call("vm.stop", {"vm": vm["id"]})
    assert caught.value.hint == "install the newer banger again"
    tamper(matrix, vm, kept)
    assert matrix.call("vm.show", {"vm": vm["id"]})["vm"]["state"] == "running"


@pytest.mark.parametrize("started", ["its own", "the VM's", "none"])
def test_somebody_else_s_process_is_neither_taken_for_the_vm_nor_ended(
    matrix: Matrix, vm: dict[str, Any], other: subprocess.Popen[bytes], started: str
) -> None:
    handles = content(matrix, vm)
    boot = next(section["data"] for section in handles["sections"] if section["step"] == "boot")
    own = boot["pid"]
    boot["pid"] = other.pid
    if started == "its own":
        boot["start_time"] = process_start_time(other.pid)
    elif started == "none":
        del boot["start_time"]
    tamper(matrix, vm, json.dumps(handles))
    assert matrix.call("vm.show", {"vm": vm["id"]})["pid"] in (own, None)
    matrix.call("vm.delete", {"vm": vm["id"]})
    assert other.poll() is None
    assert process_start_time(own) is None


def test_what_nobody_can_read_is_removed_by_force_and_its_process_ended(
    matrix: Matrix, vm: dict[str, Any]
) -> None:
    pid = matrix.call("vm.show", {"vm": vm["id"]})["pid"]
    tamper(matrix, vm, "[]", mirror='{"sections": 7}')
    with pytest.raises(BangerError, match="is damaged") as caught:
        matrix.call("vm.stop", {"vm": vm["id"]})
    assert "delete --force" in str(caught.value.hint)
    matrix.call("vm.delete", {"vm": vm["id"], "force": True})
    assert process_start_time(pid) is None
