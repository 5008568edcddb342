"""What a daemon that a command starts gets of whoever ran the command."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.cli.client import Client
from banger.cli.launch import end_daemon
from banger.testing.pytest_plugin import BangerDirs


@pytest.fixture
def client(banger_dirs: BangerDirs) -> Iterator[Client]:
    """Give a client whose daemon, once a call has started it, ends with the test."""
    yield Client()
    end_daemon(Client(), force=False)


def test_daemon_holds_nothing_that_its_caller_had_open(client: Client, tmp_path: Path) -> None:
    given = os.open(tmp_path / "lock", os.O_WRONLY | os.O_CREAT)
    os.set_inheritable(given, True)
    try:
        pid = client.call("daemon.status")["pid"]
    finally:
        os.close(given)
    opened = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # its answer's socket closes meanwhile
            opened.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    assert str(tmp_path / "lock") not in opened


def make_distribution(folder: Path) -> None:
    """Make a plugin that is found in ``folder``."""
    info = folder / "banger_plugin_sea-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: banger-plugin-sea\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[banger]\nsea = banger_sea\n")
    (folder / "banger_sea.py").write_text('"""Salt water."""\n')


_LIST = """
from banger.cli.client import Client
from banger.cli.launch import end_daemon
print(*(plugin["name"] for plugin in Client().call("plugins.list")["plugins"] if plugin["state"] == "loaded"))
"""


@pytest.mark.parametrize(
    ("variables", "options", "found"),
    [
        ({"PYTHONPATH": "packages"}, (), True),
        ({"PYTHONPATH": "packages"}, ("-E",), False),
        ({"PYTHONPATH": "packages"}, ("-I",), False),
    ],
    ids=["path", "ignored", "isolated"],
)
def test_daemon_finds_the_plugins_that_its_caller_finds(
    client: Client, tmp_path: Path, variables: dict[str, str], options: tuple[str, ...], found: bool
) -> None:
    make_distribution(tmp_path / "packages")
    done = subprocess.run(
        [sys.executable, *options, "-c", _LIST],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "core" in done.stdout.split(), done.stderr
    assert ("sea" in done.stdout.split()) is found


def test_what_says_where_packages_are_is_passed_on_and_the_rest_of_python_s_is_not(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path))
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    monkeypatch.setenv("PYTHONDEVMODE", "1")
    pid = client.call("daemon.status")["pid"]
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert os.fsencode(f"PYTHONUSERBASE={tmp_path}") in environment and b"PYTHONNOUSERSITE=1" in environment
    assert b"PYTHONDEVMODE=1" not in environment
    assert b"-P" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"), "never the current directory's"
