"""``banger --host``: which daemon is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.cli.which import take_host
from banger.config.paths import SYSTEM_SOCKET, find_paths
from banger.testing.pytest_plugin import BangerDirs, RunCli


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the option sets is taken back after the test."""
    monkeypatch.setenv("BANGER_MODE", "")
    monkeypatch.setenv("BANGER_SOCKET", "")


@pytest.mark.parametrize("given", [["--host", "system", "vm", "list"], ["--host=system", "vm", "list"]])
def test_the_hosts(given: list[str], banger_dirs: BangerDirs) -> None:
    assert take_host(given) == ["vm", "list"]
    assert find_paths().daemon_socket == SYSTEM_SOCKET


def test_ones_own_wins_over_what_the_environment_says(
    banger_dirs: BangerDirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANGER_SOCKET", "/somewhere/else.sock")
    take_host(["--host", "user"])
    assert find_paths().service is None


def test_a_socket(banger_dirs: BangerDirs, tmp_path: Path, run_cli: RunCli) -> None:
    said = run_cli("--host", str(tmp_path / "none.sock"), "daemon", "status")
    assert said.status == 1
    assert f"no daemon answers at {tmp_path}/none.sock" in said.stderr


@pytest.mark.parametrize("host", ["", "tcp://x", "relative/bangerd.sock", "User"])
def test_anything_else_is_refused(host: str, banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    said = run_cli("--host", host, "vm", "list")
    assert said.status == 2
    assert "is no daemon" in said.stderr and "hint: user, system, or the absolute path" in said.stderr


@pytest.mark.parametrize("rest", [[], ["vm", "list"], ["vm", "--host", "user"], ["--host"]])
def test_other_words_stay_as_they_are(rest: list[str]) -> None:
    assert take_host(rest) == rest


def test_completion_asks_the_daemon_that_is_meant(
    banger_dirs: BangerDirs, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "_BANGER_COMPLETE": "bash_complete",
        "COMP_WORDS": "banger --host system vm start x",
        "COMP_CWORD": "5",
    }.items():
        monkeypatch.setenv(name, value)
    run_cli()
    assert find_paths().daemon_socket == SYSTEM_SOCKET
