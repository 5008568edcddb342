"""Consoles are kept short, for as long as the daemon lives."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from banger.daemon import console
from banger.errors import StoreError
from banger.model.vm import Vm, VmState
from banger.testing.app import BangerApp
from banger.testing.samples import sample_vm

MakeLab = Callable[..., BangerApp]


def test_long_console_is_cut_to_its_end_and_a_short_one_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    path.write_bytes(b"a" * 90 + b"0123456789")
    assert not console.bound_console(path, limit=100, keep=10)
    assert path.stat().st_size == 100
    assert console.bound_console(path, limit=99, keep=10)
    assert path.read_bytes() == b"[earlier output was cut]\n0123456789"


def test_console_that_is_not_there_yet_is_nothing_to_speak_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not console.bound_console(tmp_path / "console.log")
    assert not caplog.records


class FailingDatabase:
    """A database that fails twice, and knows in which threads it was asked."""

    def __init__(self, vms: list[Vm]) -> None:
        self.threads: list[int] = []
        self._vms = vms

    def vms(self) -> list[Vm]:
        self.threads.append(threading.get_ident())
        if len(self.threads) <= 2:
            raise StoreError("the disk is away")
        return self._vms


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("state", [VmState.RUNNING, VmState.STARTING])
def test_look_that_fails_is_logged_and_followed_by_the_next_off_the_loop(
    lab: MakeLab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, state: VmState
) -> None:
    monkeypatch.setattr(console, "INTERVAL", 0.02)
    app = lab()
    real, vm = app.services.database, sample_vm(state=state)
    path = app.paths.vms / vm.id / "console.log"
    path.parent.mkdir()
    path.write_bytes(b"x" * (console.LIMIT + 1))
    failing: Any = FailingDatabase([vm])
    app.services.database = failing
    task = asyncio.run_coroutine_threadsafe(console.bound_consoles(app.services), app.services.loop)
    try:
        wait_until(lambda: path.stat().st_size < console.LIMIT)
    finally:
        task.cancel()
        with pytest.raises(CancelledError):
            task.result(10)
        app.services.database = real
    assert app._thread.ident not in failing.threads
    assert sum("could not be looked at" in record.message for record in caplog.records) == 2


def test_nothing_is_looked_at_often_while_no_vm_is_up(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "INTERVAL", 0.02)
    app = lab()
    real = app.services.database
    idle: Any = FailingDatabase([sample_vm(state=VmState.STOPPED)])
    app.services.database = idle
    task = asyncio.run_coroutine_threadsafe(console.bound_consoles(app.services), app.services.loop)
    wait_until(lambda: len(idle.threads) == 3)
    time.sleep(0.2)
    assert len(idle.threads) == 3
    task.cancel()
    with pytest.raises(CancelledError):
        task.result(10)
    app.services.database = real
