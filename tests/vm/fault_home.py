"""A home whose daemon has the plugin that injects faults."""

from __future__ import annotations

import os
from typing import Any
from unittest import mock

from vmring import Home, is_alive, until

from banger.cli.client import Client
from banger.config.paths import find_paths


def add_faults(home: Home) -> None:
    """Install the plugin for a home's command line and daemon, as a third party's would be."""
    info = home.base / "plugins" / "banger_plugin_faults-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: banger-plugin-faults\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[banger]\nfaults = banger.testing.faults\n")
    home.env["PYTHONPATH"] = str(info.parent)


def arm(home: Home, place: str, when: str) -> int:
    """Let the home's daemon kill itself before or after a place; its process id."""
    pid = home.daemon_pid()
    ask(home, "fault.arm", {"place": place, "when": when, "kind": "kill"})
    return pid


def ask(home: Home, operation: str, params: dict[str, Any]) -> dict[str, Any]:
    """Call an operation of the home's daemon that no command stands for."""
    client = Client()
    with mock.patch.dict(os.environ, home.env):
        client.paths = find_paths()
    return client.peek(operation, 30, params)


def wait_killed(pid: int) -> None:
    """Wait until a daemon that was to kill itself is gone."""
    until(lambda: not is_alive(pid), 60, "the daemon passed the place and lives")
