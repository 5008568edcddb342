"""Ports of running VMs: ``vm port add``, ``remove`` and ``list``, and those that guests open by themselves."""

from __future__ import annotations

from banger.api import Capability, Command, Service, hookimpl


@hookimpl
def banger_register_capabilities() -> list[Capability]:
    """Declare the capability ``auto-ports``."""
    return [
        Capability(
            "auto-ports", "what the guest listens on opens at its own address on the host", default=True
        )
    ]


@hookimpl
def banger_register_services() -> list[Service]:
    """Declare the relays."""
    from banger_ports.service import serve

    return [Service("ports", "opens ports of running VMs on this host", serve, relays=True)]


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``vm port``."""
    here = "banger_ports.commands"
    return [
        Command("vm port add", "make ports of a VM reachable, at once where it runs", f"{here}:add"),
        Command("vm port remove", "no longer", f"{here}:remove"),
        Command(
            "vm forward", "forward ports and Unix sockets to a VM, and back", "banger_ports.forward:forward"
        ),
        Command("vm port list", "list the ports of a VM that open from here", f"{here}:list_command"),
    ]
