"""``bridge.show`` and ``bridge.remove``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from banger.api import Operation, OperationContext, RemoveBridge, ShowBridge, ShowNat
from banger_net_bridge.place import find_place, tap_of
from banger_net_bridge.pool import POOL, is_link


class Nothing(BaseModel):
    """No parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TapInfo(BaseModel):
    """A VM's tap; ``vm`` is None for one that is no VM's."""

    tap: str
    vm: str | None


class BridgeShown(BaseModel):
    """The bridge. ``ready``: taps of the pool. ``leads_out``: addresses that have a way out."""

    bridge: str
    subnet: str
    exists: bool
    address: str | None
    taps: tuple[TapInfo, ...]
    ready: tuple[str, ...]
    leads_out: tuple[str, ...]


class BridgeRemoved(BaseModel):
    """Whether there was one."""

    bridge: str
    removed: bool


def show(op: OperationContext, _: Nothing) -> BridgeShown:
    """Show the bridge, whose its taps are, and who has a way out."""
    place, privileged = find_place(_settings(op)), op.services.privileged
    if not is_link(place.bridge):
        found: dict[str, Any] = {
            "exists": False,
            "address": None,
            "taps": [],
            "pool": [],
            "isolated_pool": [],
        }
        guests: list[str] = []
    else:
        found = privileged.call(ShowBridge(place.bridge, place.mark))
        guests = privileged.call(ShowNat(place.bridge, place.mark))["guests"]
    names = {tap_of(vm.id): vm.name for vm in op.services.database.vms()}
    return BridgeShown(
        bridge=place.bridge,
        subnet=str(place.network),
        exists=found["exists"],
        address=found["address"],
        taps=tuple(TapInfo(tap=tap, vm=names.get(tap)) for tap in found["taps"]),
        ready=(*found["pool"], *found["isolated_pool"]),
        leads_out=tuple(guests),
    )


def remove(op: OperationContext, _: Nothing) -> BridgeRemoved:
    """Remove the bridge, the taps that are ready and the firewall table; refused while VMs are on it."""
    place = find_place(_settings(op))
    if not is_link(place.bridge):
        return BridgeRemoved(bridge=place.bridge, removed=False)
    said = op.services.privileged.call(RemoveBridge(place.bridge, place.mark))
    POOL.clear()
    return BridgeRemoved(bridge=place.bridge, removed=said["removed"])


def _settings(op: OperationContext) -> Any:
    return op.services.plugin_settings.get("net-bridge")


OPERATIONS = [
    Operation("bridge.show", "the bridge that VMs are on", Nothing, BridgeShown, show),
    Operation("bridge.remove", "remove the bridge that no VM is on", Nothing, BridgeRemoved, remove),
]
