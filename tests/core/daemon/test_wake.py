from __future__ import annotations

import asyncio
import errno
import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest

from banger.daemon import wake
from banger.errors import GuestError
from banger.model.vm import VmState


def test_the_kernel_gives_such_a_timer_and_it_rests() -> None:
    timer = wake.open_timer()
    try:
        assert not wake.was_set(timer)
        assert not os.get_blocking(timer) and not os.get_inheritable(timer)
    finally:
        os.close(timer)
    with pytest.raises(OSError, match="descriptor"):
        wake.was_set(timer)
    assert wake.time_slept() >= -0.01


def test_a_clock_that_was_set_is_told_by_the_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    def cancelled(*_: object) -> bytes:
        raise OSError(errno.ECANCELED, "cancelled")

    monkeypatch.setattr(os, "read", cancelled)
    assert wake.was_set(0)


class Channel:
    """A guest's channel that notes what it is asked."""

    def __init__(self, error: GuestError | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.error = error

    async def request(self, op: str, **fields: Any) -> dict[str, Any]:
        if self.error:
            raise self.error
        self.asked.append((op, fields))
        return {}


async def test_a_jump_reaches_every_running_guest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    channels = {"a": Channel(), "b": Channel(GuestError("it hangs")), "c": Channel()}
    states = {"a": VmState.RUNNING, "b": VmState.RUNNING, "c": VmState.STOPPED}
    vms = [SimpleNamespace(id=name, name=name, state=state) for name, state in states.items()]

    async def channel(vm_id: str, *_: object) -> Channel:
        return channels[vm_id]

    services: Any = SimpleNamespace(
        loop=asyncio.get_running_loop(),
        background=set(),
        database=SimpleNamespace(vms=lambda: vms),
        guests=SimpleNamespace(channel=channel),
    )
    readable, writable = os.pipe()
    jumps: list[bool] = [True, False]
    monkeypatch.setattr(wake, "open_timer", lambda: readable)
    monkeypatch.setattr(wake, "was_set", lambda timer: bool(os.read(timer, 1)) and jumps.pop(0))
    monkeypatch.setattr(wake, "vm_paths", lambda *_: SimpleNamespace(channel="agent"))
    slept = iter([5.0, 3605.0])
    monkeypatch.setattr(wake, "time_slept", lambda: next(slept))
    caplog.set_level(logging.INFO)
    close = wake.watch_clock(services)
    os.write(writable, b"xx")
    while jumps or services.background:
        await asyncio.sleep(0)
    close()
    os.close(writable)
    assert [op for op, _ in channels["a"].asked] == ["clock"]
    assert channels["a"].asked[0][1]["clock_ns"] > 1_600_000_000_000_000_000
    assert channels["c"].asked == []
    assert "the host slept for 3600 s" in caplog.text
    assert "the clock of b was not set: it hangs" in caplog.text


async def test_a_kernel_without_such_timers_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> int:
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(wake, "open_timer", none)
    services: Any = None
    wake.watch_clock(services)()
