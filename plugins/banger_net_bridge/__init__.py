"""Bridge networking: each VM has an address of its own in a network of the host's, which every port is reached at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger.api import Check, Command, NetworkMode, Operation, Service, Vm, hookimpl

if TYPE_CHECKING:
    from banger_net_bridge.settings import Settings


@hookimpl
def banger_register_settings() -> list[str]:
    """Declare ``[plugins.net-bridge]``."""
    return ["banger_net_bridge.settings:Settings"]


@hookimpl
def banger_register_networks() -> list[NetworkMode]:
    """Declare the network ``bridge``."""
    from banger_net_bridge.address import assign
    from banger_net_bridge.attach import prepare, release
    from banger_net_bridge.check import is_offered

    return [
        NetworkMode(
            name="bridge",
            summary="root or the root helper needed; each VM has its own address, all its ports and a name there",
            attachment="tap",
            prepare=prepare,
            release=release,
            assign=assign,
            gives=frozenset({"guest-address", "vm-to-vm"}),
            leads_out=_leads_out,
            offered=is_offered,
        )
    ]


def _leads_out(settings: Settings) -> bool:
    """By itself a bridge leads nowhere; the capability nat gives a way out."""
    return False


@hookimpl
def banger_register_services() -> list[Service]:
    """Declare the pool of taps."""
    from banger_net_bridge.pool import serve

    return [Service("tap-pool", "keeps taps for the next VMs on the bridge", serve)]


@hookimpl
def banger_register_checks() -> list[Check]:
    """Declare whether VMs can be on the bridge."""
    from banger_net_bridge.check import check_bridge

    return [Check("bridge", check_bridge)]


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare ``bridge.show`` and ``bridge.remove``."""
    from banger_net_bridge.operations import OPERATIONS

    return OPERATIONS


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``bridge``."""
    here = "banger_net_bridge.commands"
    return [
        Command("bridge show", "show the bridge that VMs are on", f"{here}:show"),
        Command("bridge remove", "remove the bridge that no VM is on", f"{here}:remove"),
    ]


@hookimpl
def banger_vm_deleted(vm: Vm) -> None:
    """Remove its tap, in case nobody could read what it held."""
    if vm.spec.network == "bridge":
        from banger_net_bridge.pool import remove_lost_tap

        remove_lost_tap(vm.id)
