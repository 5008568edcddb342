"""Uninstalling: what goes, what stays, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from banger.cli import purge
from banger.config.paths import find_paths
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import BangerDirs, MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel
from tests.core.daemon.paper_lab import CONFIG, make_lab


@pytest.fixture
def app(banger_app: MakeApp) -> BangerApp:
    app = banger_app(make_lab(), builtin=["core"], config=CONFIG)
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    for name in ("brisk-otter", "calm-deer"):
        app.call("vm.create", {"name": name, "start": False})
    return app


def test_everything_goes_but_the_configuration(
    app: BangerApp, banger_dirs: BangerDirs, run_cli: RunCli
) -> None:
    neighbour = banger_dirs.home / "state" / "other" / "file"
    neighbour.parent.mkdir()
    neighbour.write_text("mine")
    result = run_cli("purge", "--yes")
    assert result.status == 0, result.stderr
    assert "brisk-otter, calm-deer" in result.stdout and "removed: " in result.stdout
    assert f"stays: {banger_dirs.config}: your settings" in result.stderr
    assert not banger_dirs.state.exists() and not banger_dirs.cache.exists()
    assert banger_dirs.config.exists() and neighbour.read_text() == "mine"
    assert app.join()
    again = run_cli("purge", "--yes")
    assert again.status == 0 and "there is nothing of banger's here" in again.stderr


def test_the_way_to_names_is_left_to_root(
    banger_dirs: BangerDirs, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    route = tmp_path / "banger.conf"
    monkeypatch.setattr(purge, "NAME_ROUTES", (tmp_path / "none", route))
    assert "dns uninstall" not in run_cli("purge", "--dry-run").stderr
    route.write_text("")
    assert f"stays: {route}: the way to names of VMs; sudo" in run_cli("purge", "--dry-run").stderr
    assert route.exists()


def test_dry_run_lists_and_removes_nothing(app: BangerApp, banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    result = run_cli("purge", "--dry-run", "--json")
    listed = json.loads(result.stdout)
    assert listed["removed"] is False and listed["vms"] == ["brisk-otter", "calm-deer"]
    assert [path["path"] for path in listed["paths"]] == [str(banger_dirs.state), str(banger_dirs.cache)]
    assert all(path["bytes"] > 0 for path in listed["paths"][:1])
    assert run_cli("vm", "list", "-q").stdout.split() == ["brisk-otter", "calm-deer"]


def test_configuration_goes_when_asked(banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    banger_dirs.write_config("")
    (banger_dirs.config.parent / "notes").write_text("mine")
    result = run_cli("purge", "--yes", "--config", "--json")
    assert json.loads(result.stdout)["removed"] is True
    assert not banger_dirs.config.exists() and (banger_dirs.config.parent / "notes").exists()


def test_nothing_goes_without_a_yes(banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    run_cli("vm", "list")
    done = subprocess.run(
        [sys.executable, "-m", "banger", "purge"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert done.returncode == 2 and banger_dirs.state.exists()


@pytest.mark.parametrize("kind", ["state", "cache"])
def test_link_is_never_followed(banger_dirs: BangerDirs, run_cli: RunCli, tmp_path: Path, kind: str) -> None:
    (tmp_path / "precious").write_text("mine")
    link = getattr(banger_dirs, kind)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path)
    result = run_cli("purge", "--yes")
    assert result.status == 1 and "is a link to" in result.stderr and "hint: " in result.stderr
    assert (tmp_path / "precious").read_text() == "mine"


def test_link_inside_is_removed_and_not_what_it_leads_to(
    banger_dirs: BangerDirs, run_cli: RunCli, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("mine")
    banger_dirs.state.mkdir(parents=True)
    (banger_dirs.state / "images").symlink_to(tmp_path)
    closed = banger_dirs.state / "staging" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").write_text("x")
    closed.chmod(0)
    assert run_cli("purge", "--yes").status == 0
    assert not banger_dirs.state.exists() and (tmp_path / "precious").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to give a directory away")
def test_somebody_elses_directory_is_refused(banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    banger_dirs.state.mkdir(parents=True)
    os.chown(banger_dirs.state, 54321, 54321)
    result = run_cli("purge", "--yes")
    assert result.status == 1 and "belongs to user 54321" in result.stderr
    assert banger_dirs.state.exists()


def test_damaged_state_without_a_running_vm_can_go(
    banger_dirs: BangerDirs, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (banger_dirs.state / "vms" / "0123").mkdir(parents=True)
    find_paths().database.write_bytes(b"no database at all, " * 100)
    result = run_cli("purge", "--yes")
    assert result.status == 0, result.stderr
    assert "nothing runs, so its files can go" in result.stderr and not banger_dirs.state.exists()


def test_damaged_state_with_a_running_vm_is_refused(banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    (banger_dirs.state / "vms" / "0123").mkdir(parents=True)
    find_paths().database.write_bytes(b"no database at all, " * 100)
    script = "import sys; print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, f"{banger_dirs.state}/vms/0123/disk"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as guest:
        assert guest.stdout is not None and guest.stdout.readline() == b"up\n"
        result = run_cli("purge", "--yes")
        assert result.status == 1 and f"still use {banger_dirs.state}: {guest.pid}" in result.stderr
        assert banger_dirs.state.exists()
        guest.communicate()


def test_files_of_others_are_named_and_left(banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    run_cli("vm", "list")
    ssh = banger_dirs.home / ".ssh" / "config"
    script = banger_dirs.home / "data" / "bash-completion" / "completions" / "banger"
    for file in (ssh, script):
        file.parent.mkdir(parents=True)
        file.write_text("Include ~/.config/banger/ssh\n")
    result = run_cli("purge", "--yes")
    assert f"stays: {script}: completion" in result.stderr and f"stays: {ssh}" in result.stderr
    assert ssh.exists() and script.exists()
