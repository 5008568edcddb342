"""The host's clock jumps by a year, one way and the other: nothing is lost, nothing hangs, nothing shows nonsense."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import RunCli

MakeLab = Callable[..., BangerApp]


def jump(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """Set the clock that this process sees."""
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + by.total_seconds())

    class Shifted(datetime):
        """Tells a time that is off."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Shifted:
            shifted = datetime.now(tz) + by
            return cls.fromtimestamp(shifted.timestamp(), tz)

    monkeypatch.setattr("banger.daemon.lifecycle.datetime", Shifted)


@pytest.mark.parametrize("days", [365, -365])
def test_vms_and_operations_live_through_a_jump(
    lab: MakeLab, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    app = lab()
    app.call("vm.create", {"name": "before", "start": False})
    with monkeypatch.context() as patch:
        jump(patch, timedelta(days=days))
        made = app.call("vm.create", {"name": "after", "start": False})["vm"]
        there = datetime.fromisoformat(made["created_at"]) - datetime.now(UTC)
        assert abs(there - timedelta(days=days)) < timedelta(days=1)
        listed = run_cli("vm", "list")
        assert listed.status == 0
        assert {"before", "after"} <= set(listed.stdout.split())
        operations = app.call("op.list")["operations"]
        assert operations[-1]["name"] == "op.list"
        app.call("vm.rename", {"vm": "before", "name": "older"})
    assert {vm["name"] for vm in app.call("vm.list")["vms"]} == {"older", "after"}
    listed = run_cli("vm", "list", "--json")
    assert listed.status == 0
    for name in ("older", "after"):
        app.call("vm.delete", {"vm": name})
    assert app.call("vm.list")["vms"] == []
