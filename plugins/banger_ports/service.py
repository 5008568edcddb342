"""The service: sees what is to be open of each running VM, and keeps that open."""

from __future__ import annotations

import asyncio
import logging
import time
from ipaddress import ip_address
from typing import Literal

from banger.api import BangerError, ServiceContext, Vm, VmState
from banger_ports.listeners import find_open
from banger_ports.relay import Relay, host_port

log = logging.getLogger(__name__)

#: Seconds between two looks at the VMs, and at what a guest listens on: one in use, or one left alone.
_LOOK, _ASK, _ASK_IDLE = 1.0, 2.0, 15.0
#: Seconds after its start or last use in which a VM is in use.
_IN_USE = 60.0
#: Seconds a guest gets to answer.
_PATIENCE = 5.0


async def serve(ctx: ServiceContext) -> None:
    """Keep ports open until cancelled."""
    keeper = Keeper(ctx)
    try:
        while True:
            try:
                await keeper.look()
            except BangerError as error:
                log.warning("VMs' ports were not looked at: %s", error)
            await asyncio.sleep(_LOOK)
    finally:
        keeper.close()


class Keeper:
    """The relays of all VMs. Lives on the daemon's loop."""

    def __init__(self, ctx: ServiceContext) -> None:
        self._ctx = ctx
        self._vms: dict[str, _VmPorts] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def look(self) -> None:
        """Let each running VM see to its ports, side by side; forget those that do not run."""
        running = {
            vm.id: vm for vm in self._ctx.records() if vm.state is VmState.RUNNING and _is_relayed(vm.address)
        }
        for vm_id in set(self._vms) - set(running):
            if (task := self._tasks.pop(vm_id, None)) is not None:
                task.cancel()
            self._vms.pop(vm_id).close()
        for vm_id, vm in running.items():
            ports = self._vms.get(vm_id)
            if ports is None or ports.vm.started_at != vm.started_at:
                if ports is not None:
                    ports.close()
                ports = self._vms[vm_id] = _VmPorts(self._ctx, vm)
            ports.vm = vm
            if (task := self._tasks.get(vm_id)) is None or task.done():
                self._tasks[vm_id] = asyncio.create_task(ports.update())
        self._ctx.report(f"{sum(len(ports.relays) for ports in self._vms.values())} ports are open")

    def close(self) -> None:
        """Close every port."""
        for task in self._tasks.values():
            task.cancel()
        for ports in self._vms.values():
            ports.close()


def _is_relayed(address: str | None) -> bool:
    """Tell whether a VM's address is the host's own; at the guest's own, on a bridge, its ports are open anyway."""
    return address is not None and ip_address(address).is_loopback


class _VmPorts:
    """One run of one VM."""

    def __init__(self, ctx: ServiceContext, vm: Vm) -> None:
        self._ctx, self.vm = ctx, vm
        self.relays: dict[tuple[int, int], Relay] = {}
        self._guest_opened: set[int] = set()
        self._asked = 0.0
        self._began = time.monotonic()
        self._refused: set[tuple[int, int]] = set()

    async def update(self) -> None:
        """Open what is to be open, close what is not."""
        if "auto-ports" not in self.vm.spec.capabilities:
            self._guest_opened = set()
        elif time.monotonic() - self._asked >= (_ASK if self._is_used() else _ASK_IDLE):
            await self._ask()
        present = {(port.host, port.guest) for port in self.vm.present_spec.publish}
        wanted = {(port.host, port.guest): True for port in self.vm.spec.publish}
        wanted |= {(guest, guest): False for guest in self._guest_opened}
        for key in set(self.relays) - set(wanted):
            await self._close(key)
        for key, chosen in wanted.items():
            if key not in present and key not in self.relays:
                await self._open(key, chosen)
        self._refused &= set(wanted)
        self._ctx.show_relays(self.vm, {(relay.host, relay.guest) for relay in self.relays.values()})

    def _is_used(self) -> bool:
        used = self._ctx.last_used(self.vm)
        idle = time.clock_gettime(time.CLOCK_BOOTTIME) - used if used is not None else _IN_USE
        return idle < _IN_USE or time.monotonic() - self._began < _IN_USE

    async def _ask(self) -> None:
        try:
            said = await self._ctx.ask_guest(self.vm, "ports", _PATIENCE, owners=False)
        except BangerError:
            return  # paused, or booting, or gone: what is open stays
        finally:
            self._asked = time.monotonic()
        self._guest_opened = find_open(said.get("ports"), self.vm.spec.publish)

    async def _open(self, key: tuple[int, int], chosen: bool) -> None:
        port = host_port(key[0])
        if port is None or key in self._refused:
            return
        relay = Relay(self._ctx, self.vm, key[1], port)
        try:
            await relay.open()
        except OSError as error:
            self._refused.add(key)
            log.warning(
                "port %d of %s does not open at %s:%d: %s", key[1], self.vm.name, self.vm.address, port, error
            )
            return
        self.relays[key] = relay
        await self._announce("vm_port_opened", relay)

    async def _close(self, key: tuple[int, int]) -> None:
        relay = self.relays.pop(key)
        relay.close()
        await self._announce("vm_port_closed", relay)

    async def _announce(self, event: Literal["vm_port_opened", "vm_port_closed"], relay: Relay) -> None:
        where = f"{self.vm.address}:{relay.host}"
        log.info("%s: %s, port %d of %s", event, where, relay.guest, self.vm.name)
        guest = str(relay.guest)
        await asyncio.to_thread(self._ctx.announce, event, self.vm, endpoint=where, guest=guest)

    def close(self) -> None:
        """Close all; nobody is told, the VM is down."""
        for relay in self.relays.values():
            relay.close()
        self.relays.clear()
        self._ctx.show_relays(self.vm, set())
