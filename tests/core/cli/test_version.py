"""What is installed, what runs, and where the two differ."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import banger
from banger.build import agent_info, build_info
from banger.cli.version import describe_build, describe_drift
from banger.daemon.starts import vm_paths
from banger.daemon.takedown import save_vm
from banger.guest.initramfs import agent_binary
from banger.model.vm import VmState
from banger.testing.pytest_plugin import BangerDirs, MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel
from tests.core.daemon.paper_lab import CONFIG, make_lab

OURS = {"version": "1.0", "commit": "a" * 12, "built_at": "unknown"}


def test_without_a_daemon_none_is_started(run_cli: RunCli, banger_dirs: BangerDirs) -> None:
    told = json.loads(run_cli("version", "--json").stdout)
    assert told["version"] == banger.__version__ and told["commit"] == build_info()[0]
    assert told["daemon"] is None and told["agents"] == [] and told["drift"] == []
    assert told["agent"] == agent_info(agent_binary())
    assert "does not run" in run_cli("version").stdout
    assert not banger_dirs.state.exists()


def test_with_a_daemon_it_is_named(banger_app: MakeApp, run_cli: RunCli) -> None:
    banger_app(builtin=["core"])
    told = json.loads(run_cli("version", "--json").stdout)
    assert told["daemon"] == {key: told[key] for key in ("version", "commit", "built_at")}
    status = json.loads(run_cli("daemon", "status", "--json").stdout)
    assert status["agent"] == told["agent"] and status["agents"] == []


def test_agents_build_is_read_out_of_its_file(tmp_path: Path) -> None:
    sources = (Path(__file__).parents[3] / "agent").glob("*.[ch]")
    if max(source.stat().st_mtime for source in sources) > agent_binary().stat().st_mtime:
        pytest.skip("needs an agent as new as its source: pip install -e .")
    known = agent_info(agent_binary())
    assert known["version"] == banger.__version__ and "unknown" not in known.values()
    (tmp_path / "agent").write_bytes(b"\x7fELF nothing of ours")
    assert set(agent_info(tmp_path / "agent").values()) == {"unknown"}
    with pytest.raises(OSError, match="No such file"):
        agent_info(tmp_path / "none")


@pytest.mark.parametrize("other", [False, True])
def test_agent_of_a_running_vm_is_asked(
    banger_app: MakeApp, run_cli: RunCli, tmp_path: Path, other: bool
) -> None:
    """The real agent, outside a VM; another build is a copy of its file with another commit in it."""
    app = banger_app(make_lab(), builtin=["core"], config=CONFIG)
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    app.call("vm.create", {"name": "otter", "start": False})
    (vm,) = app.services.database.vms()
    save_vm(app.services, vm, state=VmState.RUNNING)
    channel = vm_paths(app.services, vm).channel
    channel.parent.mkdir(parents=True)
    agent, commit = tmp_path / "agent", agent_info(agent_binary())["commit"]
    given = commit[::-1] if other else commit
    agent.write_bytes(agent_binary().read_bytes().replace(commit.encode(), given.encode()))
    agent.chmod(0o755)
    with subprocess.Popen([agent, "--listen", channel]) as process:
        try:
            while not channel.exists():
                assert process.poll() is None
            told = json.loads(run_cli("version", "--json").stdout)
            status = run_cli("daemon", "status")
        finally:
            process.terminate()
    assert [(found["vm"], found["commit"], found["drift"]) for found in told["agents"]] == [
        ("otter", given, other)
    ]
    assert ("note: the agent in otter is" in status.stderr) is other and len(told["drift"]) == other


def test_drift_is_named_part_by_part() -> None:
    agents = [
        {"vm": "otter", "version": "0.9", "commit": "b" * 12, "drift": True},
        {"vm": "owl", "version": "1.0", "commit": "a" * 12, "drift": False},
    ]
    assert describe_drift(OURS, {}) == []
    assert describe_drift(OURS, {**OURS, "agents": agents[1:]}) == []
    daemon, agent = describe_drift(OURS, {**OURS, "version": "0.8", "agents": agents})
    assert "the daemon is 0.8" in daemon and "banger daemon stop" in daemon
    assert "the agent in otter is 0.9" in agent


def test_build_for_people() -> None:
    assert describe_build(None) == "not installed"
    assert describe_build(OURS) == "1.0 (aaaaaaaaaaaa)"
    assert describe_build({**OURS, "built_at": "2026"}) == "1.0 (aaaaaaaaaaaa, built 2026)"
