"""What the daemon is doing: ``op list``, ``follow`` and ``cancel``."""

from __future__ import annotations

from banger.api import Command, hookimpl


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``op list``, ``op follow`` and ``op cancel``."""
    here = "banger_operations.commands"
    return [
        Command("op list", "list what the daemon does, and what it did last", f"{here}:list_command"),
        Command("op follow", "follow an operation to its end", f"{here}:follow"),
        Command("op cancel", "cancel an operation; it undoes what it did", f"{here}:cancel"),
    ]
