"""Setting the rules right when the daemon starts: a firewall that was loaded anew has forgotten them."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from banger.api import AllowNat, BangerError, DenyNat, Privileged, ServiceContext, Vm, VmState
from banger_nat.note import find_places, read_note

log = logging.getLogger(__name__)

#: The seam, while the daemon runs; for a VM whose undo could not do it.
_serving: list[Privileged] = []


async def serve(ctx: ServiceContext) -> None:
    """Give running VMs their way out again, take it from all others, then wait."""
    _serving[:] = [ctx.privileged]
    try:
        vms = [(vm, ctx.directory_of(vm)) for vm in ctx.records() if "nat" in vm.spec.capabilities]
        ctx.report(await asyncio.to_thread(apply, ctx.privileged, vms))
        await asyncio.Event().wait()
    finally:
        _serving.clear()


def apply(privileged: Privileged, vms: Iterable[tuple[Vm, Path]]) -> str:
    """Set the rules of every bridge that VMs' notes name; say what was done."""
    wanted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for vm, directory in vms:
        if (note := read_note(directory)) is not None:
            bridge, mark, address = note
            wanted[bridge, mark] |= {address} if vm.state in (VmState.RUNNING, VmState.STARTING) else set()
    for (bridge, mark), addresses in wanted.items():
        try:
            privileged.call(AllowNat(bridge, mark, tuple(sorted(addresses)), only=True))
        except BangerError as error:
            log.error("VMs on %s have no way out: %s", bridge, error)
            return error.message
    return f"{sum(map(len, wanted.values()))} VMs had a way out when the daemon started"


def deny_lost(vm: Vm) -> None:
    """Take the way out from a VM that is gone, in case its undo could not."""
    if vm.address is None:
        return
    for privileged in _serving:
        for bridge, mark in find_places():
            privileged.call(DenyNat(bridge, mark, vm.address))
