"""What the load is measured with, where that needs no VM."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from banger.bench import load
from banger.cli.client import Client
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp, RunCli
from banger.testing.samples import sample_image, sample_kernel
from tests.core.daemon.paper_lab import CONFIG, make_lab


@pytest.fixture
def lab(banger_app: MakeApp) -> Callable[..., BangerApp]:
    """Start a daemon whose VMs are on paper."""

    def start(*modules: ModuleType, **parts: Any) -> BangerApp:
        app = banger_app(make_lab(**parts), *modules, builtin=["core"], config=CONFIG)
        app.services.database.add_image(sample_image())
        app.services.database.add_kernel(sample_kernel())
        return app

    return start


def test_lists_are_measured_in_turn_and_leave_the_vms_there_were(
    lab: Callable[..., BangerApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = lab()
    app.call("vm.create", {"name": "mine", "start": False})
    seen: list[int] = []

    def timed(argv: list[str]) -> float:
        assert argv[-2:] == ["vm", "list"]
        seen.append(len(app.call("vm.list")["vms"]))
        return float(len(seen))

    monkeypatch.setattr(load, "run_timed", timed)
    target = load._measure_lists(Client(), 4)
    assert seen == [2, 5] * load._LISTINGS
    assert (target.wanted, target.figure.name) == (1.2, "banger vm list, 4 VMs")
    assert [vm["name"] for vm in app.call("vm.list")["vms"]] == ["mine"]


def test_what_is_watched_is_seen_at_its_highest() -> None:
    high, watched = threading.Event(), threading.Event()

    def look() -> float:
        if not high.is_set():
            return 1.0
        watched.set()
        return 2.0

    with load._watched(look) as seen:
        high.set()
        assert watched.wait(20)
    assert max(seen) == 2.0
    assert load._resident(os.getpid()) > 1


def test_a_scale_that_makes_no_sense_is_refused(run_cli: RunCli) -> None:
    refused = run_cli("bench", "load", "--scale", "0")
    assert refused.status == 2
    assert "scale" in refused.stderr
