"""``system df`` and ``vm prune`` in a daemon with VMs on paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from banger.daemon.main import write_commands
from banger.model.vm import VmState
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel, sample_vm


@pytest.fixture
def app(banger_app: MakeApp) -> BangerApp:
    app = banger_app(builtin=["core", "space"])
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    for name, state in (
        ("otter", VmState.RUNNING),
        ("lynx", VmState.STOPPED),
        ("fox", VmState.ERROR),
        ("new", VmState.CREATED),
    ):
        vm = sample_vm(name, state=state).model_copy(update={"labels": {"kind": name}})
        app.services.database.add_vm(vm)
        folder = app.services.paths.vms / vm.id
        folder.mkdir(parents=True)
        (folder / "work.raw").write_bytes(b"x" * 100_000)
    write_commands(app.services)
    return app


def folder_of(app: BangerApp, name: str) -> Path:
    [vm] = [vm for vm in app.services.database.vms() if vm.name == name]
    return app.services.paths.vms / vm.id


def names(app: BangerApp) -> set[str]:
    return {vm.name for vm in app.services.database.vms()}


def test_what_takes_room(app: BangerApp, run_cli: RunCli) -> None:
    usage = json.loads(run_cli("system", "df", "--json").stdout)
    parts = {(part["kind"], part["name"]): part for part in usage["parts"]}
    assert parts["vm", "otter"]["bytes"] >= 100_000
    assert {name for (kind, name), part in parts.items() if kind == "vm" and part["reclaimable"]} == {
        "lynx",
        "fox",
    }
    assert not parts["image", sample_image().name]["reclaimable"]
    memory = app.services.database.vms()[0].spec.memory_mib << 20
    assert usage["memory"]["promised_bytes"] == memory
    assert 0 < usage["memory"]["available_bytes"] <= usage["memory"]["size_bytes"]
    assert 0 < usage["disk"]["free_bytes"] <= usage["disk"]["size_bytes"]
    shown = run_cli("system", "df").stdout
    assert "VMs" in shown and "available of" in shown
    assert "lynx" in run_cli("system", "df", "-v").stdout


def test_a_dry_run_only_lists(app: BangerApp, run_cli: RunCli) -> None:
    listed = run_cli("vm", "prune", "--dry-run")
    assert listed.status == 0
    assert "lynx" in listed.stdout and "fox" in listed.stdout and "would free" in listed.stdout
    assert "otter" not in listed.stdout and "new" not in listed.stdout
    assert names(app) == {"otter", "lynx", "fox", "new"}


def test_nobody_to_ask_is_no_yes(app: BangerApp, run_cli: RunCli) -> None:
    refused = run_cli("vm", "prune")
    assert refused.status == 2
    assert "banger vm prune -f" in refused.stderr
    assert names(app) == {"otter", "lynx", "fox", "new"}


def test_what_does_not_run_goes_with_its_disks(app: BangerApp, run_cli: RunCli) -> None:
    disk = folder_of(app, "fox")
    assert json.loads(run_cli("vm", "prune", "-f", "--json", "--filter", "label=kind=fox").stdout)[
        "deleted"
    ] == ["fox"]
    assert not disk.exists()
    pruned = run_cli("vm", "prune", "-f")
    assert pruned.status == 0, pruned.stderr
    assert "freed 1" in pruned.stdout
    assert names(app) == {"otter", "new"}
    assert "no VM is stopped or in error" in run_cli("vm", "prune", "-f").stderr


def test_one_that_was_started_meanwhile_stays(
    app: BangerApp, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from banger_space import commands

    delete = commands._delete

    def start_first(client: Any, vms: list[dict[str, Any]]) -> dict[str, str]:
        [lynx] = [vm for vm in app.services.database.vms() if vm.name == "lynx"]
        app.services.database.update_vm(lynx.model_copy(update={"state": VmState.RUNNING}))
        return delete(client, vms)

    monkeypatch.setattr(commands, "_delete", start_first)
    pruned = run_cli("vm", "prune", "-f")
    assert pruned.status == 1
    assert "lynx stays: 'lynx' is running" in pruned.stderr
    assert names(app) == {"otter", "lynx", "new"}
