"""A name server for tests: on sockets of its own, with VMs that are only told of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dns.message

from banger.errors import StoreError
from banger.host.privileged import Privileged
from banger.model.service import RunningVm
from banger.model.vm import Vm
from banger.testing.privileged import FakePrivileged
from banger_dns import server
from banger_dns.settings import Settings

OTTER = RunningVm("0" * 32, "otter", "running", "127.64.0.7")
NO_ADDRESS = RunningVm("1" * 32, "lynx", "running", None)


class Context:
    """What a service gets, without a daemon."""

    def __init__(self, directory: Path, port: int = 42300, privileged: Privileged | None = None) -> None:
        self.directory = directory
        self.privileged = privileged or FakePrivileged()
        self.rows: list[Vm] = []
        self.reports: list[str] = []
        self.table: list[RunningVm] = [OTTER, NO_ADDRESS]
        self.broken = False
        self.reads = 0
        self._port = port

    def vms(self) -> list[RunningVm]:
        self.reads += 1
        if self.broken:
            raise StoreError("the database is gone")
        return self.table

    def records(self) -> list[Vm]:
        return self.rows

    def directory_of(self, vm: Vm) -> Path:
        return self.directory / vm.id

    def report(self, detail: str) -> None:
        self.reports.append(detail)

    def settings(self) -> Settings:
        return Settings(port=self._port)


@contextlib.asynccontextmanager
async def running(context: Any) -> AsyncIterator[server.Serving]:
    """Run a name server; afterwards it is gone."""
    task = asyncio.create_task(server.serve(context))
    try:
        while server.find_serving() is None and not task.done():
            await asyncio.sleep(0.01)
        if task.done():
            task.result()
        serving = server.find_serving()
        assert serving is not None
        yield serving
        assert not task.done(), "the server died"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert server.find_serving() is None


def question(name: str = "otter.vm", kind: str = "A") -> bytes:
    return dns.message.make_query(name, kind).to_wire()


def values(wire: bytes) -> list[str]:
    return [value.to_text() for rrset in dns.message.from_wire(wire).answer for value in rrset]
