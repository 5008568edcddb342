"""``banger system`` as people type it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from banger.daemon.main import write_commands
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp, RunCli
from banger_system import commands
from banger_system.layout import Layout


@pytest.fixture
def app(banger_app: MakeApp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BangerApp:
    app = banger_app(builtin=["core", "system"])
    write_commands(app.services)
    monkeypatch.setattr(commands, "Layout", lambda: Layout(tmp_path, os.getuid()))
    return app


def test_status_without_an_installation(app: BangerApp, run_cli: RunCli) -> None:
    shown = run_cli("system", "status")
    assert shown.status == 1 and "system install --owner USER" in shown.stderr
    asked = run_cli("system", "status", "--json")
    assert asked.status == 1
    assert json.loads(asked.stdout) == {"install": None, "units": [], "daemon": None, "ok": False}


@pytest.mark.parametrize("words", [["install"], ["restart"], ["uninstall"]])
def test_only_root_may(
    app: BangerApp, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(commands.os, "geteuid", lambda: 1000)
    refused = run_cli("system", *words)
    assert refused.status == 1 and refused.stderr.splitlines()[0].endswith(
        "only root makes services of this host"
    )
    assert f"system {words[0]}" in refused.stderr.splitlines()[1]


def test_an_owner_is_needed_and_must_be(
    app: BangerApp, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands.os, "geteuid", lambda: 0)
    monkeypatch.delenv("SUDO_USER", raising=False)
    refused = run_cli("system", "install")
    assert refused.status == 2 and "--owner USER" in refused.stderr
    for owner in ("root", "nobody-of-this-name"):
        assert run_cli("system", "install", "--owner", owner).status == 2


def test_purge_is_asked_about(app: BangerApp, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.os, "geteuid", lambda: 0)
    refused = run_cli("system", "uninstall", "--purge")
    assert refused.status == 2 and "--purge --yes" in refused.stderr
