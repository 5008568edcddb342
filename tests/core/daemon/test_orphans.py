"""What nothing refers to is found, named, and removed when that is asked for; what somebody may need is not."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from banger.model.vm import VmState
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import RunCli
from banger.testing.samples import sample_id

MakeLab = Callable[..., BangerApp]


LOST = sample_id("lost")


@contextmanager
def process_of(sockets: Path, vm_id: str = LOST, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process as a VMM is: its VM's socket and UUID are on its command line."""
    line = [sys.executable, "-c", "print(flush=True); import time; time.sleep(600)"]
    line += words or (f"path={sockets / vm_id[:8] / 'agent'}", "-uuid", str(uuid.UUID(vm_id)))
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def left(app: BangerApp, *, repair: bool = False) -> list[tuple[str, str]]:
    checks = app.call("doctor", {"repair": repair})["checks"]
    return [(line["status"], line["detail"]) for line in checks if line["name"] == "left over"]


def test_what_nothing_refers_to_is_named_and_then_removed(lab: MakeLab, run_cli: RunCli) -> None:
    app = lab()
    assert left(app) == []
    paths = app.paths
    made = [paths.sockets / LOST[:8], paths.images / ("0" * 32), paths.staging / "half"]
    for directory in made:
        directory.mkdir(parents=True)
        (directory / "file").touch()
    with process_of(paths.sockets) as process:
        found = left(app)
        assert {status for status, _ in found} == {"WARN"}
        assert found[0][1].startswith(f"process {process.pid} (python")
        assert [directory.is_dir() for directory in made] == [True] * 3
        assert process.poll() is None
        printed = run_cli("doctor", "--repair").stdout
        assert all(f"removed {directory}, to which nothing referred" in printed for directory in made)
        assert process.wait(20) is not None
    assert not any(directory.exists() for directory in made)
    assert left(app) == []


def test_processes_of_others_and_of_running_vms_are_left_alone(lab: MakeLab) -> None:
    app = lab()
    vm = app.call("vm.create", {"name": "otter", "start": False})["vm"]
    app.services.database.update_vm(
        app.services.database.vms()[0].model_copy(update={"state": VmState.STARTING})
    )
    visitor = str(app.paths.sockets / LOST[:8] / "console")
    with ExitStack() as stack:
        running = [
            stack.enter_context(process)
            for process in (
                process_of(app.paths.sockets, vm["id"]),
                process_of(Path("/elsewhere/banger/s")),
                process_of(app.paths.sockets, LOST, visitor),
            )
        ]
        assert left(app, repair=True) == []
        assert [process.poll() for process in running] == [None] * 3


def test_a_process_of_a_vm_that_is_down_is_ended(lab: MakeLab) -> None:
    app = lab()
    vm = app.call("vm.create", {"name": "otter", "start": False})["vm"]
    with process_of(app.paths.sockets, vm["id"]) as process:
        [(status, detail)] = left(app, repair=True)
        assert (status, f"process {process.pid}" in detail) == ("PASS", True)
        assert process.wait(20) is not None


@pytest.mark.parametrize("repair", [False, True])
def test_a_vm_nobody_knows_is_named_and_kept_with_all_it_may_need(lab: MakeLab, repair: bool) -> None:
    app = lab()
    unknown = app.paths.vms / LOST
    image = app.paths.images / ("0" * 32)
    for directory in (unknown, image):
        directory.mkdir()
    with process_of(app.paths.sockets) as process:
        [(status, detail)] = left(app, repair=repair)
        assert status == "WARN"
        assert detail.startswith(f"{unknown} belongs to no VM")
        assert process.poll() is None
    assert unknown.is_dir()
    assert image.is_dir()


def test_files_of_what_is_under_way_are_not_taken(lab: MakeLab) -> None:
    app = lab()
    half = app.paths.staging / "half"
    half.mkdir(parents=True)
    record = app.services.operations.begin("image.pull")
    assert left(app, repair=True) == []
    finished = threading.Event()
    app.services.loop.call_soon_threadsafe(lambda: (record.finish(result={}), finished.set()))
    assert finished.wait(20)
    assert left(app, repair=True) == [("PASS", f"removed {half}, to which nothing referred")]
