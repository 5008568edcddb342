"""Taps kept ready for the next VMs: making one and putting it into the bridge takes longer than renaming it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping

from banger.api import BangerError, CreateTap, GuardTap, Privileged, RemoveTap, ServiceContext, ShowBridge, Vm
from banger_net_bridge.address import mac_of
from banger_net_bridge.place import Place, find_place, tap_of
from banger_net_bridge.settings import Settings

log = logging.getLogger(__name__)


def _nothing() -> None:
    pass


class Pool:
    """Names of taps that are ready, by bridge and isolation. A daemon is one process and has one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready: dict[tuple[str, bool], list[str]] = defaultdict(list)
        #: Called, in any thread, when one was taken or a bridge may be new.
        self.on_change: Callable[[], object] = _nothing

    def take(self, bridge: str, *, isolated: bool) -> str | None:
        """Return a tap that is nobody else's from now on."""
        with self._lock:
            ready = self._ready[bridge, isolated]
            taken = ready.pop() if ready else None
        self.on_change()
        return taken

    def put(self, bridge: str, names: list[str], *, isolated: bool) -> None:
        """Note that taps are ready."""
        with self._lock:
            self._ready[bridge, isolated] += names

    def count(self, bridge: str, *, isolated: bool) -> int:
        """Return how many are ready."""
        with self._lock:
            return len(self._ready[bridge, isolated])

    def clear(self) -> None:
        """Forget all; they stay."""
        with self._lock:
            self._ready.clear()


POOL = Pool()
#: What the service keeps; a tap of a VM that nobody could take down is removed through it.
_keeping: list[Keeper] = []


async def serve(ctx: ServiceContext) -> None:
    """Keep the pool full until cancelled; what is ready stays for the next daemon."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    keeper = Keeper(ctx.settings(), ctx.privileged)
    POOL.on_change = lambda: loop.call_soon_threadsafe(changed.set)
    _keeping[:] = [keeper]
    try:
        known = {tap_of(vm.id): vm for vm in ctx.records()}
        await asyncio.to_thread(keeper.begin, known)
        while True:
            ctx.report(await asyncio.to_thread(keeper.fill))
            await changed.wait()
            changed.clear()
    finally:
        POOL.on_change = _nothing
        _keeping.clear()
        POOL.clear()


def remove_lost_tap(vm_id: str) -> None:
    """Remove the tap of a VM that is gone, in case its undo could not."""
    for keeper in _keeping:
        keeper.remove(tap_of(vm_id))


class Keeper:
    """Looks after the taps of one bridge."""

    def __init__(self, settings: Settings, privileged: Privileged) -> None:
        self._settings, self._privileged = settings, privileged
        self._place: Place = find_place(settings)

    def begin(self, known: Mapping[str, Vm]) -> None:
        """Take over the pool that is there, guard the taps of VMs again, and remove those of VMs that are gone.

        :param known: the VMs, by the taps that they may have.
        """
        place = self._place
        if not is_link(place.bridge):
            return
        try:
            shown = self._privileged.call(ShowBridge(place.bridge, place.mark))
        except BangerError as error:
            log.warning("the bridge was not looked at: %s", error)
            return
        POOL.put(place.bridge, list(shown["pool"]), isolated=False)
        POOL.put(place.bridge, list(shown["isolated_pool"]), isolated=True)
        for tap in set(shown["taps"]) & set(known):
            self._guard(tap, known[tap])
        for tap in set(shown["taps"]) - set(known):
            log.warning("%s is the tap of no VM; it is removed", tap)
            self.remove(tap)

    def _guard(self, tap: str, vm: Vm) -> None:
        """Guard a VM's tap: a firewall that was loaded anew has forgotten it."""
        place = self._place
        if vm.address is None:
            return
        try:
            self._privileged.call(place.request())
            self._privileged.call(GuardTap(place.bridge, place.mark, tap, mac_of(vm.id), vm.address))
        except BangerError as error:
            log.error("%s is not guarded: %s", tap, error)

    def fill(self) -> str:
        """Make what is missing, once the bridge is there; say how many there are."""
        place, isolated = self._place, self._settings.isolate
        if not is_link(place.bridge):
            return "no VM was on the bridge yet"
        try:
            while POOL.count(place.bridge, isolated=isolated) < self._settings.pool:
                name = f"bgrp-{secrets.token_hex(4)}"
                self._privileged.call(CreateTap(place.bridge, place.mark, name, isolated))
                POOL.put(place.bridge, [name], isolated=isolated)
        except BangerError as error:
            log.warning("the pool of taps is not full: %s", error)
            return f"not full: {error.message}"
        return f"{POOL.count(place.bridge, isolated=isolated)} taps are ready in {place.bridge}"

    def remove(self, tap: str) -> None:
        """Remove a tap, if it is there; what keeps it is in the log."""
        if is_link(tap):
            try:
                self._privileged.call(RemoveTap(self._place.bridge, self._place.mark, tap))
            except BangerError as error:
                log.warning("%s could not be removed: %s", tap, error)


def is_link(name: str) -> bool:
    """Tell whether there is a link of that name; costs nothing."""
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False
