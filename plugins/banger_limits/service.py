"""The service: sees that each VM's VMM is in a group of its own, and that no group is left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from banger.api import BangerError, ServiceContext, VmState
from banger_limits.groups import find_base, hold, limits_of, prepare, sweep
from banger_limits.tree import HostTree, Tree

log = logging.getLogger(__name__)

#: Seconds until it is looked again when nothing happened, and while a group is not empty yet.
_LOOK, _SOON = 60.0, 1.0


#: Called, in any thread, when a VM came or went.
_on_change: list[Callable[[], object]] = []


def look_again() -> None:
    """Let the service look at once, where it runs."""
    for wake in _on_change:
        wake()


async def serve(ctx: ServiceContext) -> None:
    """Keep the groups until cancelled."""
    await keep(ctx, HostTree())


async def keep(ctx: ServiceContext, tree: Tree) -> None:
    """Keep the groups of a tree until cancelled; where there can be none, say why and do nothing."""
    base, reason = find_base(tree)
    if base is None:
        ctx.report(f"no limits: {reason}")
        await asyncio.Event().wait()
        return
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(changed.set)

    _on_change.append(wake)
    try:
        while True:
            try:
                soon = await look(ctx, tree)
            except (BangerError, OSError) as error:
                ctx.report(f"no limits: {error}")
                log.warning("VMs have no limits: %s", error)
                soon = False
            try:
                await asyncio.wait_for(changed.wait(), _SOON if soon else _LOOK)
            except TimeoutError:
                continue
            changed.clear()
    finally:
        _on_change.remove(wake)


async def look(ctx: ServiceContext, tree: Tree) -> bool:
    """Bring the groups up to date; tell whether one is there that has to go."""
    base, reason = find_base(tree)
    if base is None:
        raise OSError(reason)
    running = {vm.id: vm for vm in ctx.records() if vm.state is VmState.RUNNING}
    if running:
        await asyncio.to_thread(prepare, tree, base)
    held = 0
    for vm in running.values():
        detail = await ctx.call("vm.show", {"vm": vm.id})
        if detail["pid"] is not None:
            spec = vm.present_spec
            limits = limits_of(spec.vcpu, spec.memory_mib, emulated=detail["accelerator"] == "tcg")
            await asyncio.to_thread(hold, tree, base, vm.id, detail["pid"], limits)
            held += 1
    left = await asyncio.to_thread(sweep, tree, base, running)
    ctx.report(f"{held} VMs have limits in {base}")
    return left > 0
