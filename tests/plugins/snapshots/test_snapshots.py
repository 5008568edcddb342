"""Snapshots of a VM that is down, with real qcow2 files; a running one's are the vm ring's, faults the matrix's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from banger.daemon.main import write_commands
from banger.errors import ConflictError, HostError, NotFoundError, UsageError
from banger.host.command import HostCommands
from banger.host.disk import HostDisks
from banger.model.vm import VmState
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel, sample_vm
from banger_snapshots import copies
from banger_snapshots.restore import finish

MIB = 1 << 20


class Usage(NamedTuple):
    free: int


@pytest.fixture
def app(banger_app: MakeApp) -> BangerApp:
    app = banger_app(builtin=["core", "snapshots", "space"], config="[plugins.snapshots]\nlimit = 3\n")
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    write_commands(app.services)
    return app


@pytest.fixture
def disks(app: BangerApp, tmp_path: Path) -> Path:
    """Give the directory of a stopped VM that has a root disk of 64 MiB over a file, and a work disk of 32 MiB."""
    vm = sample_vm("web", state=VmState.STOPPED)
    spec = vm.spec.model_copy(update={"overlay_mib": 64, "disk_mib": 32})
    app.services.database.add_vm(vm.model_copy(update={"spec": spec}))
    directory = app.paths.vms / vm.id
    directory.mkdir()
    backing = tmp_path / "backing"
    backing.write_bytes(bytes(MIB))
    HostDisks(HostCommands()).make_overlay(directory / "root.qcow2", backing, 64)
    change(directory, b"before")
    return directory


def change(directory: Path, content: bytes) -> None:
    """Write into both disks; the qcow2 file gets it behind its content, as bytes that belong to nothing."""
    with open(directory / "root.qcow2", "r+b") as file:
        file.seek(MIB)
        file.write(content.ljust(16, b"."))
    (directory / "work.ext4").write_bytes(content.ljust(16, b".") + bytes(MIB))


def held(directory: Path) -> set[bytes]:
    with open(directory / "root.qcow2", "rb") as file:
        file.seek(MIB)
        root = file.read(16)
    return {root, (directory / "work.ext4").read_bytes()[:16]}


def set_vm(app: BangerApp, **fields: Any) -> None:
    [vm] = app.services.database.vms()
    app.services.database.update_vm(vm.model_copy(update=fields))


def make(app: BangerApp, name: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = app.call("snapshot.create", {"vm": "web", "name": name})["snapshot"]
    return made


def names(app: BangerApp) -> list[str]:
    return [snapshot["name"] for snapshot in app.call("snapshot.list", {"vm": "web"})["snapshots"]]


def test_both_disks_are_put_back(app: BangerApp, disks: Path) -> None:
    made = make(app, "clean")
    assert (made["name"], made["running"], set(made["disks"])) == (
        "clean",
        False,
        {"root.qcow2", "work.ext4"},
    )
    assert made["bytes"] > 0
    change(disks, b"later")
    for _ in range(2):  # it stays
        app.call("snapshot.restore", {"vm": "web", "name": "clean"})
        assert held(disks) == {b"before".ljust(16, b".")}
        change(disks, b"again")
    assert names(app) == ["clean"]
    assert sorted(entry.name for entry in disks.iterdir()) == [
        "labels",
        "root.qcow2",
        "snapshots",
        "work.ext4",
    ]
    assert list(app.paths.staging.iterdir()) == []


def test_disks_that_became_larger_stay_so(app: BangerApp, disks: Path) -> None:
    make(app, "small")
    [vm] = app.services.database.vms()
    set_vm(app, spec=vm.spec.model_copy(update={"overlay_mib": 128, "disk_mib": 48}))
    app.call("snapshot.restore", {"vm": "web", "name": "small"})
    told = subprocess.run(
        ["qemu-img", "info", "--output=json", disks / "root.qcow2"], capture_output=True, check=True
    )
    assert json.loads(told.stdout)["virtual-size"] == 128 * MIB
    assert (disks / "work.ext4").stat().st_size == 48 * MIB


def test_a_raw_root_disk_is_a_disk_too(app: BangerApp, disks: Path) -> None:
    (disks / "root.qcow2").unlink()
    (disks / "root.raw").write_bytes(b"before" + bytes(MIB))
    assert set(make(app, "clean")["disks"]) == {"root.raw", "work.ext4"}
    (disks / "root.raw").write_bytes(b"later")
    app.call("snapshot.restore", {"vm": "web", "name": "clean"})
    with open(disks / "root.raw", "rb") as file:
        assert file.read(6) == b"before"
    assert (disks / "root.raw").stat().st_size == 64 * MIB


def test_a_restore_that_was_cut_off_is_ended_by_whoever_comes_next(app: BangerApp, disks: Path) -> None:
    make(app, "clean")
    change(disks, b"later")
    (disks / "restore").mkdir()
    for name in ("root.qcow2", "work.ext4"):
        (disks / "snapshots" / "clean" / name).rename(disks / "restore" / name)
    (disks / "restore" / "root.qcow2").replace(disks / "root.qcow2")  # so far it came
    assert finish(disks)
    assert held(disks) == {b"before".ljust(16, b".")}
    assert not finish(disks)
    assert not (disks / "restore").exists()


def test_names_are_made_taken_and_bounded(app: BangerApp, disks: Path) -> None:
    assert make(app)["name"] == "snapshot-1"
    assert make(app, "snapshot-2")["name"] == "snapshot-2"
    with pytest.raises(ConflictError, match="has a snapshot 'snapshot-1'"):
        make(app, "snapshot-1")
    assert make(app)["name"] == "snapshot-3"
    with pytest.raises(ConflictError, match="'web' has 3 snapshots, as many as it may") as refused:
        make(app)
    assert refused.value.hint == "banger vm snapshot delete web snapshot-1, or: [plugins.snapshots] limit"
    app.call("snapshot.delete", {"vm": "web", "name": "snapshot-2"})
    assert names(app) == ["snapshot-1", "snapshot-3"]
    assert app.call("vm.show", {"vm": "web"})["labels"]["snapshots"] == "2: snapshot-1, snapshot-3"
    for name in ("..", "a/b", ".hidden", "x" * 64, "", "a\nb"):
        with pytest.raises(UsageError, match="is no name of a snapshot"):
            make(app, name)
    for name in ("snapshot-1", "snapshot-3"):
        app.call("snapshot.delete", {"vm": "web", "name": name})
    assert app.call("vm.show", {"vm": "web"})["labels"] == {}
    assert not (disks / "snapshots").exists()


def test_what_is_not_there(app: BangerApp, disks: Path) -> None:
    for operation in ("restore", "delete"):
        with pytest.raises(NotFoundError, match="'web' has no snapshot 'none'") as refused:
            app.call(f"snapshot.{operation}", {"vm": "web", "name": "none"})
        assert refused.value.hint == "banger vm snapshot create web"
    with pytest.raises(NotFoundError, match="there is no VM 'otter'"):
        app.call("snapshot.list", {"vm": "otter"})
    make(app, "clean")
    (disks / "snapshots" / "clean" / "snapshot.json").write_text("{")
    assert names(app) == []
    with pytest.raises(ConflictError, match="the snapshot 'clean' of 'web' is damaged"):
        app.call("snapshot.restore", {"vm": "web", "name": "clean"})
    app.call("snapshot.delete", {"vm": "web", "name": "clean"})


def test_a_vm_that_is_up_is_not_put_back(app: BangerApp, disks: Path) -> None:
    make(app, "clean")
    for state in (VmState.RUNNING, VmState.STARTING, VmState.STOPPING):
        set_vm(app, state=state)
        with pytest.raises(ConflictError, match=f"'web' is {state}: a snapshot is restored while it is down"):
            app.call("snapshot.restore", {"vm": "web", "name": "clean"})
    set_vm(app, state=VmState.ERROR, deleting=True)
    for operation in ("create", "restore"):
        with pytest.raises(ConflictError, match="was being deleted"):
            app.call(
                f"snapshot.{operation}", {"vm": "web", "name": "clean" if operation == "restore" else "new"}
            )
    set_vm(app, state=VmState.STOPPED, deleting=False)
    [vm] = app.services.database.vms()
    set_vm(app, spec=vm.spec.model_copy(update={"init": "provisioned"}))
    with pytest.raises(ConflictError, match="not provisioned yet"):
        make(app, "half")


def test_a_vm_without_disks_has_nothing_to_keep(app: BangerApp, disks: Path) -> None:
    for disk in disks.glob("*.*"):
        disk.unlink()
    with pytest.raises(ConflictError, match="'web' was never started: it has no disk yet"):
        make(app)
    assert list(app.paths.staging.iterdir()) == []


def test_no_room(app: BangerApp, disks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "shares_blocks", lambda directory: False)
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda path: Usage(257 * MIB))
    with pytest.raises(
        HostError, match="the disks take .* and 257 MiB are free at .*, of which 256 MiB have to"
    ):
        make(app)
    assert list(app.paths.staging.iterdir()) == [] and names(app) == []
    monkeypatch.setattr(copies, "shares_blocks", lambda directory: True)
    assert make(app)["name"] == "snapshot-1"


def test_the_commands(app: BangerApp, disks: Path, run_cli: RunCli) -> None:
    said = run_cli("vm", "snapshot", "list", "web")
    assert (said.status, said.stdout) == (0, "")
    assert "make one: banger vm snapshot create web" in said.stderr
    assert run_cli("vm", "snapshot", "create", "web", "clean").stdout.startswith("clean ")
    [shown] = json.loads(run_cli("vm", "snapshot", "list", "web", "--json").stdout)
    assert (shown["name"], shown["running"]) == ("clean", False)
    heading, row = run_cli("vm", "snapshot", "list", "web").stdout.splitlines()
    assert heading.split() == ["NAME", "CREATED", "VM", "WAS", "SIZE"] and row.startswith("clean ")
    change(disks, b"later")
    refused = run_cli("vm", "snapshot", "restore", "web", "clean")
    assert refused.status == 2 and "banger vm snapshot restore web clean --yes" in refused.stderr
    assert held(disks) == {b"later".ljust(16, b".")}
    done = run_cli("vm", "snapshot", "restore", "web", "clean", "--yes")
    assert done.stdout == "web is as it was at clean; start it: banger vm start web\n"
    assert held(disks) == {b"before".ljust(16, b".")}
    assert json.loads(run_cli("vm", "snapshot", "delete", "web", "clean", "--json").stdout) == ["clean"]
    unknown = run_cli("vm", "snapshot", "delete", "web", "clean")
    assert unknown.status == 1 and "'web' has no snapshot 'clean'" in unknown.stderr


@pytest.mark.parametrize("command", ["restore", "delete"])
def test_names_complete(
    app: BangerApp, disks: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    make(app, "clean")
    make(app, "dirty")
    monkeypatch.setenv("_BANGER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"banger\nvm\nsnapshot\n{command}\nweb\ncl")
    monkeypatch.setenv("COMP_CWORD", "5")
    assert run_cli().stdout.splitlines() == ["plain,clean"]
