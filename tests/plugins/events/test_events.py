"""The journal of what becomes of VMs, and ``vm events``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from banger.daemon.main import write_commands
from banger.model.vm import Vm
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp, RunCli
from banger.testing.samples import sample_vm
from banger_events import banger_vm_start_failed, banger_vm_started, banger_vm_stopped, journal


@pytest.fixture
def app(banger_app: MakeApp) -> BangerApp:
    app = banger_app(builtin=["core", "events"])
    write_commands(app.services)
    return app


def run(run_cli: RunCli, *options: str) -> list[dict[str, str]]:
    result = run_cli("vm", "events", "--json", *options)
    assert result.status == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def otter() -> Vm:
    return sample_vm("otter")


def test_what_happens_is_written_and_shown(app: BangerApp, run_cli: RunCli, otter: Vm) -> None:
    assert run(run_cli) == []
    banger_vm_started(otter)
    banger_vm_start_failed(sample_vm("lynx"), "no \x1b[31mroom")
    banger_vm_stopped(otter)
    found = run(run_cli)
    assert [(each["event"], each["vm"]) for each in found] == [
        ("started", "otter"),
        ("failed", "lynx"),
        ("stopped", "otter"),
    ]
    assert found[1]["error"] == "no \x1b[31mroom"
    assert {each["event"] for each in run(run_cli, "--vm", "otter")} == {"started", "stopped"}
    assert len(run(run_cli, "--vm", otter.id)) == 2
    shown = run_cli("vm", "events").stdout
    assert "failed       lynx: no " in shown
    assert "\x1b" not in shown
    assert journal.journal().stat().st_mode & 0o777 == 0o600


def test_a_vm_that_is_made_and_deleted(app: BangerApp, run_cli: RunCli) -> None:
    from banger.testing.samples import sample_image, sample_kernel

    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    app.services.database.add_vm(sample_vm("otter"))
    app.call("vm.delete", {"vm": "otter"})
    assert [each["event"] for each in run(run_cli)][-1] == "deleted"


def test_since(app: BangerApp, run_cli: RunCli, otter: Vm) -> None:
    banger_vm_started(otter)
    path = journal.journal()
    path.write_text(path.read_text().replace('"time": "20', '"time": "19') + path.read_text())
    assert len(run(run_cli)) == 2
    assert len(run(run_cli, "--since", "1h")) == 1
    assert len(run(run_cli, "--since", "1999-01-01")) == 1
    for wrong in ("yesterday", "10", "9" * 30 + "d", "-1m"):
        refused = run_cli("vm", "events", "--since", wrong)
        assert refused.status == 2
        assert "hint: 10m, 2h" in refused.stderr


def test_lines_that_are_no_events_are_passed_over(app: BangerApp, run_cli: RunCli, otter: Vm) -> None:
    path = journal.journal()
    path.write_bytes(b'{"cut off\n[]\n\xff\n{"time": 1}\n' + b"x" * 40_000 + b"\n")
    banger_vm_started(otter)
    with open(path, "ab") as file:
        file.write(b'{"half')
    assert [each["event"] for each in run(run_cli)] == ["started"]


def test_a_full_journal_gives_way(
    app: BangerApp, run_cli: RunCli, otter: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_FILE_BYTES", 1000)
    for _ in range(20):
        banger_vm_started(otter)
    assert sorted(path.name for path in journal.journal().parent.glob("events*")) in (
        ["events.jsonl", "events.jsonl.1"],
        ["events.jsonl.1"],
    )
    assert 4 <= len(run(run_cli)) <= 16


def test_a_link_in_its_place_is_not_written_through(app: BangerApp, otter: Vm, tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    journal.journal().symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        banger_vm_started(otter)
    assert (tmp_path / "target").read_bytes() == b""


def test_following_sees_what_comes_and_new_files(app: BangerApp, otter: Vm) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "banger", "vm", "events", "-f", "--json"],
        stdout=subprocess.PIPE,
        env=os.environ,
    ) as process:
        try:
            assert process.stdout is not None
            for count in range(3):
                banger_vm_started(sample_vm(f"otter{count}"))
                assert json.loads(process.stdout.readline())["vm"] == f"otter{count}"
                journal.journal().replace(journal.journal().with_name("events.jsonl.1"))
        finally:
            process.terminate()
