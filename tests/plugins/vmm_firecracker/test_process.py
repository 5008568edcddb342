"""Starting, finding and ending Firecracker, with a program that only plays it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.errors import VmmError
from banger.host.process import process_start_time
from banger.model.vmm import Drive, LaunchSpec
from banger.start.step import StartStep
from banger.testing.samples import sample_vm
from banger.testing.start import FakeStart
from banger.testing.step_contract import MakeStart, StartStepContract
from banger_vmm_firecracker import machine, process, run_state
from banger_vmm_firecracker.probe import VARIABLE
from tests.plugins.local.paper_kernel import make_elf
from tests.plugins.vmm_firecracker.test_machine import KVM, make_spec


def spec_of(ctx: Any) -> LaunchSpec:
    for name in ("root.raw", "initrd"):
        (ctx.paths.directory / name).write_bytes(bytes(4096))
    ctx.paths.vmlinuz.write_bytes(make_elf())
    return make_spec(
        ctx.paths.directory,
        vm_id=ctx.vm.id,
        kernel=ctx.paths.vmlinuz,
        drives=(Drive("root", ctx.paths.directory / "root.raw"),),
        attachment=None,
        sockets=ctx.paths.sockets,
        channel=ctx.paths.channel,
    )


def launch(ctx: Any) -> None:
    spec = spec_of(ctx)
    process.launch(ctx, spec, machine.build(spec, KVM))


STEP = StartStep("boot", launch, after=("net-ready",), undo=process.kill)


@pytest.fixture(autouse=True)
def plays(player: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(player))


def players(start: FakeStart) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and process_start_time(int(entry.name)) is not None:
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if start.vm.id.encode() in words:
                found.append(f"process {entry.name}")
    return found


class TestLaunch(StartStepContract):
    @pytest.fixture
    def step(self) -> StartStep:
        return STEP

    @pytest.fixture
    def make_start(self, tmp_path: Path) -> Iterator[MakeStart]:
        starts: list[FakeStart] = []

        def make(name: str = "one", fail_at: int = 0) -> FakeStart:
            start = FakeStart(
                tmp_path / name.replace("failed at ", "f"),
                vm=sample_vm(name.replace(" ", "-")),
                fail_at=fail_at,
            )
            starts.append(start)
            return start

        yield make
        for start in starts:
            start.undo(STEP)

    def run_resources(self, start: FakeStart) -> list[str]:
        return players(start) + [path.name for path in start.paths.sockets.iterdir()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[FakeStart]:
    start = FakeStart(tmp_path)
    yield start
    start.undo(STEP)


def test_it_is_told_its_machine_and_runs(start: FakeStart) -> None:
    start.run(STEP)
    section = start.section(STEP)
    assert os.getsid(section["pid"]) == section["pid"]
    assert run_state.status(start.paths.sockets).state == "running"
    assert os.readlink(start.paths.channel) == "vsock"
    assert os.readlink(f"/proc/{section['pid']}/fd/0") == "/dev/null"
    assert os.readlink(f"/proc/{section['pid']}/fd/1") == str(start.paths.console)
    run_state.pause(start.paths.sockets)
    assert run_state.status(start.paths.sockets).words == "paused"
    run_state.resume(start.paths.sockets)
    assert run_state.status(start.paths.sockets).runs
    assert process.find(section, start.vm.id) == section["pid"]


def test_a_version_whose_guests_are_deaf_after_a_pause_is_not_paused(start: FakeStart, player: Path) -> None:
    player.write_text(player.read_text().replace('"PLAYER_VERSION", "1.15.1"', '"", "1.16.1"'))
    start.run(STEP)
    with pytest.raises(VmmError, match=r"1\.16\.1 takes no new connections"):
        run_state.pause(start.paths.sockets)
    assert run_state.status(start.paths.sockets).runs


def test_what_it_refuses_is_the_error_of_the_start(start: FakeStart, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(spec: LaunchSpec, kernel: Path) -> Any:
        told = machine.describe(spec, kernel)
        return told.model_copy(update={"boot": told.boot.model_copy(update={"initrd_path": "/gone"})})

    monkeypatch.setattr(process, "describe", wrong)
    with pytest.raises(VmmError, match="refuses PUT /boot-source: .*No such file"):
        start.run(STEP)
    start.undo(STEP)
    assert players(start) == []


def test_one_that_ends_at_once_says_why(
    start: FakeStart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "fails"
    program.write_text("#!/bin/sh\necho 'Error: this is why' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(program))
    with pytest.raises(VmmError, match="firecracker ended at once: Error: this is why"):
        start.run(STEP)


def test_one_that_was_never_recorded_is_found_by_the_id(start: FakeStart) -> None:
    start.run(STEP)
    section = json.loads(json.dumps(dict(start.section(STEP))))
    pid = section.pop("pid")
    assert process.find(section, start.vm.id) == pid
    assert process.find({}, start.vm.id) is None
