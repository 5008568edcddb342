"""What a daemon that a command starts gets of whoever ran the command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.cli.client import Client
from banger.errors import DaemonError
from banger.testing.pytest_plugin import BangerDirs


@pytest.fixture
def client(banger_dirs: BangerDirs) -> Iterator[Client]:
    """Give a client whose daemon, once a call has started it, ends with the test."""
    yield Client()
    try:
        Client().call("daemon.stop", start=False)
    except DaemonError:
        return
    Client().wait_gone()


def test_daemon_holds_nothing_that_its_caller_had_open(client: Client, tmp_path: Path) -> None:
    given = os.open(tmp_path / "lock", os.O_WRONLY | os.O_CREAT)
    os.set_inheritable(given, True)
    try:
        pid = client.call("daemon.status")["pid"]
    finally:
        os.close(given)
    opened = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    assert str(tmp_path / "lock") not in opened
