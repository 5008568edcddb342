"""What VMs use and which ports their guests listen on: ``vm stats``, ``vm top``, ``vm ports``."""

from __future__ import annotations

from banger.api import Command, Operation, hookimpl


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare ``vm.stats`` and ``vm.ports``."""
    from banger_stats.ports import PORTS
    from banger_stats.usage import STATS

    return [STATS, PORTS]


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``vm stats``, ``vm top`` and ``vm ports``."""
    here = "banger_stats.commands"
    return [
        Command("vm stats", "show what VMs use", f"{here}:stats"),
        Command("vm top", "watch what every running VM uses", f"{here}:top"),
        Command("vm ports", "show what a VM's guest listens on, and where it opens here", f"{here}:ports"),
    ]
