"""A guest whose time stood still is told the time, as after the host's sleep."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from vmring import Home

from banger.daemon import wake
from banger.daemon.guests import Guests
from banger.model.vm import VmState

_DAY = 86400


def test_a_guest_that_is_years_behind(banger: Home, vm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    banger.sh(vm, "date -s '2020-01-01 00:00:00'")
    identity = banger.show(vm)["vm"]["id"]
    banger.close_daemon()  # the host cannot be sent to sleep here: what its daemon does then is done by this process
    socket = banger.state / "s" / identity[:8] / "agent"
    monkeypatch.setattr(wake, "vm_paths", lambda *_: SimpleNamespace(channel=socket))

    async def tell() -> None:
        row = SimpleNamespace(id=identity, name=vm, state=VmState.RUNNING)
        services: Any = SimpleNamespace(guests=Guests(), database=SimpleNamespace(vms=lambda: [row]))
        await wake.set_clocks(services)
        await services.guests.close()

    asyncio.run(tell())
    assert abs(int(banger.sh(vm, "date +%s")) - time.time()) < _DAY
