"""What takes room on this host, and giving it back: ``system df``, ``vm prune``."""

from __future__ import annotations

from banger.api import Command, Operation, hookimpl


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare ``system.df``."""
    from banger_space.usage import DF

    return [DF]


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``system df`` and ``vm prune``."""
    here = "banger_space.commands"
    return [
        Command(
            "system df", "show what VMs, images, kernels and caches take, and what is free", f"{here}:df"
        ),
        Command("vm prune", "delete the VMs that are stopped or in error", f"{here}:prune"),
    ]
