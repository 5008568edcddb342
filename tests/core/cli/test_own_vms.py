"""Where the daemon is the host's, VMs that were made before it are not forgotten."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from banger.cli import vm
from banger.config.fingerprint import fingerprint
from banger.config.paths import SYSTEM_STATE, Paths, find_user_paths
from banger.testing.pytest_plugin import MakeApp, RunCli


@pytest.fixture
def system(banger_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A daemon that the command line takes for the host's unless it is to be this user's own."""
    own = banger_app(builtin=["core"]).services.paths
    hosts = replace(own, state=SYSTEM_STATE, service=own.daemon_socket)

    def find_paths() -> Paths:
        return own if os.environ.get("BANGER_MODE") == "user" else hosts

    monkeypatch.setattr("banger.cli.client.find_paths", find_paths)
    monkeypatch.setattr("banger.cli.client.fingerprint", lambda config, is_system: fingerprint(config))
    monkeypatch.delenv("BANGER_MODE", raising=False)
    return own


def test_they_are_counted_and_shown(system: Paths, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "of user mode" not in run_cli("vm", "list").stderr
    (find_user_paths().vms / "one").mkdir(parents=True)
    shown = run_cli("vm", "list")
    assert shown.status == 0 and "note: of user mode there are 1 more: banger vm list --user" in shown.stderr
    assert "of user mode" not in run_cli("vm", "list", "--json").stderr
    monkeypatch.setenv("BANGER_MODE", "")  # what --user sets goes with this test
    own = run_cli("vm", "list", "--user")
    assert own.status == 0 and "of user mode" not in own.stderr


def test_nobody_has_any(monkeypatch: pytest.MonkeyPatch, system: Paths) -> None:
    assert vm._own_vms() == 0
