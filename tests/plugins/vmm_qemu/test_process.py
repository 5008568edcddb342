"""Starting, finding and ending the VMM's process, with a program that only plays QEMU."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.errors import VmmError
from banger.host.process import process_start_time
from banger.model.vmm import LaunchPlan
from banger.start.step import StartStep
from banger.testing.samples import sample_id, sample_vm
from banger.testing.start import FakeStart
from banger.testing.step_contract import MakeStart, StartStepContract
from banger_vmm_qemu import process
from banger_vmm_qemu.settings import Settings

#: Opens the sockets that QEMU opens, then waits to be ended; ``mode`` says how it misbehaves.
PLAYER = """
import os, signal, socket, sys, time
mode, directory = sys.argv[1:3]
if mode == "fails":
    print("qemu: this is why", file=sys.stderr)
    sys.exit(1)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = []
for name in ("qmp", "agent"):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].bind(os.path.join(directory, name))
time.sleep(120)
"""


def make_step(mode: str = "plays") -> StartStep:
    def run(ctx: Any) -> None:
        from types import SimpleNamespace

        identity = ("-uuid", str(uuid.UUID(ctx.vm.id)))
        argv = (sys.executable, "-c", PLAYER, mode, str(ctx.paths.sockets), *identity)
        spec: Any = SimpleNamespace(
            channel=ctx.paths.channel, sockets=ctx.paths.sockets, directory=ctx.paths.directory
        )
        process.launch(ctx, spec, LaunchPlan(argv, "tcg", "paper"))

    return StartStep("boot", run, after=("net-ready",), undo=process.kill)


def players(start: FakeStart) -> list[str]:
    """Return the processes of this start's VM, found without what was recorded."""
    word = str(uuid.UUID(start.vm.id)).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and process_start_time(int(entry.name)) is not None:
            try:
                if word in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(f"process {entry.name}")
            except OSError:
                continue
    return found


class TestLaunch(StartStepContract):
    @pytest.fixture
    def step(self) -> StartStep:
        return make_step()

    @pytest.fixture
    def make_start(self, tmp_path: Path) -> Iterator[MakeStart]:
        starts: list[FakeStart] = []

        def make(name: str = "one", fail_at: int = 0) -> FakeStart:
            row = sample_vm(name.replace(" ", "-"))
            start = FakeStart(tmp_path / name, vm=row, settings={"vmm-qemu": Settings()}, fail_at=fail_at)
            starts.append(start)
            return start

        yield make
        for start in starts:
            start.undo(make_step())

    def run_resources(self, start: FakeStart) -> list[str]:
        return players(start) + [path.name for path in start.paths.sockets.iterdir()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[FakeStart]:
    settings = {"vmm-qemu": Settings(extra_arguments=("-extra", "a b"))}
    start = FakeStart(tmp_path, settings=settings)
    yield start
    start.undo(make_step())


def test_extra_arguments_of_the_settings_come_last(start: FakeStart) -> None:
    start.run(make_step())
    section = start.section(make_step())
    assert section["argv"][-2:] == ["-extra", "a b"]
    assert Path(f"/proc/{section['pid']}/cmdline").read_bytes().endswith(b"-extra\0a b\0")


def test_program_that_ends_at_once_says_why(start: FakeStart) -> None:
    with pytest.raises(VmmError, match="qemu ended at once: qemu: this is why") as caught:
        start.run(make_step("fails"))
    assert "qemu.log" in (caught.value.hint or "")


def test_stubborn_process_is_killed(start: FakeStart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_TERM_PATIENCE", 0.2)
    start.run(make_step("stubborn"))
    pid = start.section(make_step())["pid"]
    time.sleep(0.05)
    start.undo(make_step())
    assert process_start_time(pid) is None


def test_live_process_is_found_by_id_and_start_time(start: FakeStart) -> None:
    start.run(make_step())
    section = start.section(make_step())
    assert process.find(section, start.vm.id) == section["pid"]


def test_crash_between_starting_and_recording_is_found_by_the_uuid(start: FakeStart) -> None:
    """The section then names a command line, and no process id."""
    start.run(make_step())
    section = dict(start.section(make_step()))
    pid = section.pop("pid")
    section.pop("start_time")
    assert process.find(section, start.vm.id) == pid
    assert process.find({}, start.vm.id) is None, "nothing was ever started for this section"
    assert process.find(section, sample_id("another")) is None
