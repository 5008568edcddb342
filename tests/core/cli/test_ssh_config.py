"""``ssh-config``: what it prints, and that it needs no daemon."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from banger.testing.pytest_plugin import BangerDirs, RunCli

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="openssh-client is not installed")


@pytest.fixture
def home(banger_dirs: BangerDirs) -> Path:
    return banger_dirs.home


def test_without_options_it_only_prints(home: Path, banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    result = run_cli("ssh-config")
    config = banger_dirs.state / "ssh" / "config"
    assert result.stdout.splitlines() == [str(config), f'Include "{config}"']
    assert "banger ssh-config --install" in result.stderr
    assert not config.exists() and not (home / ".ssh").exists()


def test_install_and_uninstall_without_a_daemon(home: Path, banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh/config").write_text("Host a\n")
    answers = [
        json.loads(run_cli("ssh-config", *option, "--json").stdout)
        for option in (["--install"], ["--install"], [], ["--uninstall"], ["--uninstall"])
    ]
    assert [answer["changed"] for answer in answers] == [True, False, False, True, False]
    assert [answer["installed"] for answer in answers] == [True, True, True, False, False]
    assert answers[0]["user_config"] == str(home / ".ssh/config")
    assert (home / ".ssh/config").read_text() == "Host a\n"
    assert (banger_dirs.state / "ssh/id_ed25519").stat().st_mode & 0o777 == 0o600
    assert not (banger_dirs.state / "bangerd.log").exists()


def test_what_stands_in_the_way_is_one_line(home: Path, run_cli: RunCli) -> None:
    (home / ".ssh").write_text("mine")
    result = run_cli("ssh-config", "--install")
    assert result.status == 1 and "hint: " in result.stderr and "Traceback" not in result.stderr
