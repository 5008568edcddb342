"""Names of VMs: a small DNS server that answers ``NAME.vm``, and the way to it from the rest of the host."""

from __future__ import annotations

from banger.api import Capability, Check, Command, Operation, Service, StartStep, hookimpl


@hookimpl
def banger_register_settings() -> list[str]:
    """Declare ``[plugins.dns]``."""
    return ["banger_dns.settings:Settings"]


@hookimpl
def banger_register_services() -> list[Service]:
    """Declare the name server."""
    from banger_dns.server import serve

    return [Service("dns", "answers NAME.vm with the address of a running VM", serve)]


@hookimpl
def banger_register_capabilities() -> list[Capability]:
    """Declare ``names``: a VM on a bridge asks there."""
    from banger_dns.guests import forget_names, tell_names

    step = StartStep("names", tell_names, after=("net-ready",), before=("boot",), undo=forget_names)
    return [
        Capability(
            "names",
            "finds other VMs on the bridge by name",
            default=True,
            steps=(step,),
            attachments=frozenset({"tap"}),
        )
    ]


@hookimpl
def banger_register_checks() -> list[Check]:
    """Declare whether programs on this host find VMs by name."""
    from banger_dns.check import check_names

    return [Check("names", check_names)]


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare ``dns.status``."""
    from banger_dns.operations import OPERATIONS

    return OPERATIONS


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``dns status``, ``install`` and ``uninstall``."""
    here = "banger_dns.commands"
    return [
        Command("dns status", "show what answers NAME.vm, and whether this host asks it", f"{here}:status"),
        Command("dns install", "let every program on this host resolve NAME.vm (as root)", f"{here}:install"),
        Command("dns uninstall", "undo dns install (as root)", f"{here}:uninstall"),
    ]
