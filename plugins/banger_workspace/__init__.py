"""Repositories in VMs: in by ``vm run PATH`` and ``vm workspace prepare``, out by ``diff``, ``export`` and ``pull``."""

from __future__ import annotations

from banger.api import Command, Operation, hookimpl


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare the operations that remember what a VM's workspace is."""
    from banger_workspace.operations import OPERATIONS

    return OPERATIONS


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``vm workspace prepare``, ``diff``, ``export`` and ``pull``."""
    here = "banger_workspace.commands"
    return [
        Command("vm workspace prepare", "bring a repository into a running VM", f"{here}:prepare"),
        Command("vm workspace diff", "show what changed in the VM", f"{here}:diff"),
        Command("vm workspace export", "write what changed in the VM as a patch", f"{here}:export"),
        Command("vm workspace pull", "take the VM's commits as branches of the repository", f"{here}:pull"),
    ]
