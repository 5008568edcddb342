"""Starting, finding and ending Firecracker, with a program that only plays it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.errors import VmmError
from banger.helper.requests import LaunchJail, SignalJail
from banger.host.process import process_start_time
from banger.model.vmm import Drive, LaunchSpec
from banger.start.step import StartStep
from banger.testing.privileged import FakePrivileged
from banger.testing.samples import sample_vm
from banger.testing.start import FakeStart
from banger.testing.step_contract import MakeStart, StartStepContract
from banger_vmm_firecracker import jail, machine, process, run_state
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


class PlayedJail(FakePrivileged):
    """Starts the player where root would start it in a jail: with what is asked for, and nothing else."""

    def __init__(self) -> None:
        super().__init__("helper")
        self.players: dict[str, subprocess.Popen[bytes]] = {}

    def _jail_launch(self, request: LaunchJail) -> dict[str, Any]:
        super()._jail_launch(request)
        for path in (*request.read, *request.written, request.sockets, request.console, request.log):
            assert os.path.exists(path) and os.path.realpath(path) == path
        program, api = os.environ[VARIABLE], f"{request.sockets}/api"
        line = [program, "--id", request.vm, "--start-time-us", "1", "--api-sock", api]
        player = self.players[request.vm] = subprocess.Popen(line, start_new_session=True)
        return {"pid": player.pid, "start_time": process_start_time(player.pid)}

    def _jail_signal(self, request: SignalJail) -> dict[str, Any]:
        if request.vm in self.players:
            self.players[request.vm].kill()
            self.players.pop(request.vm).wait(20)
        return super()._jail_signal(request)


class TestLaunch(StartStepContract):
    def privileged(self) -> FakePrivileged:
        return FakePrivileged(None)

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
                privileged=self.privileged(),
                fail_at=fail_at,
            )
            starts.append(start)
            return start

        yield make
        for start in starts:
            start.undo(STEP)

    def run_resources(self, start: FakeStart) -> list[str]:
        assert isinstance(start.privileged, FakePrivileged)
        jails = [f"jail {vm}" for vm in start.privileged.jails]
        return players(start) + jails + [path.name for path in start.paths.sockets.iterdir()]


class TestLaunchInJail(TestLaunch):
    def privileged(self) -> FakePrivileged:
        return PlayedJail()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[FakeStart]:
    start = FakeStart(tmp_path, privileged=FakePrivileged(None))
    yield start
    start.undo(STEP)


@pytest.fixture
def jailed(tmp_path: Path) -> Iterator[FakeStart]:
    start = FakeStart(tmp_path, privileged=PlayedJail())
    yield start
    start.undo(STEP)


def test_a_jail_gets_every_file_of_the_machine_and_vm_show_says_so(jailed: FakeStart) -> None:
    played = jailed.privileged
    assert isinstance(played, PlayedJail)
    jailed.run(STEP)
    section, paths = jailed.section(STEP), jailed.paths
    [request] = [asked for asked in played.requests if isinstance(asked, LaunchJail)]
    folder = paths.directory.resolve()
    assert request.read[1:] == (f"{folder}/initrd",) and Path(request.read[0]).read_bytes()[:4] == b"\x7fELF"
    assert request.written == (f"{folder}/metrics.json", f"{folder}/root.raw")
    assert section["machine"] == "mmio (jail)" and section["jailed"] is True
    assert process.find(section, jailed.vm.id) == section["pid"]
    assert run_state.status(paths.sockets).state == "running"
    jailed.undo(STEP)
    assert played.jails == {} and players(jailed) == []


def test_without_helper_or_root_there_is_no_jail(start: FakeStart) -> None:
    start.run(STEP)
    assert start.section(STEP)["machine"] == "mmio (no jail)"


def test_a_link_in_a_path_is_no_obstacle(tmp_path: Path) -> None:
    """A jail is told where files really are; the state directory may well be reached by a link."""
    (tmp_path / "really").mkdir()
    (tmp_path / "link").symlink_to("really")
    start = FakeStart(tmp_path / "link", privileged=PlayedJail())
    try:
        start.run(STEP)
        assert run_state.status(start.paths.sockets).state == "running"
    finally:
        start.undo(STEP)


def test_a_vm_that_is_gone_leaves_no_jail(jailed: FakeStart, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its record was lost, and nothing of its start could be undone."""
    played = jailed.privileged
    assert isinstance(played, PlayedJail)
    monkeypatch.setattr(jail, "HostPrivileged", lambda: played)
    jailed.run(STEP)
    qemus = jailed.vm.model_copy(update={"spec": jailed.vm.spec.model_copy(update={"vmm": "qemu"})})
    jail.forget(qemus)
    assert list(played.jails) == [jailed.vm.id]
    jail.forget(
        jailed.vm.model_copy(update={"spec": jailed.vm.spec.model_copy(update={"vmm": "firecracker"})})
    )
    assert played.jails == {} and players(jailed) == []


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
