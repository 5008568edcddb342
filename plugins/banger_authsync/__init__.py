"""What users may lend to VMs: their git identity and the logins of common tools. Nothing unless chosen."""

from __future__ import annotations

from banger.api import AuthSync, Command, Operation, hookimpl


@hookimpl
def banger_register_auth_syncs() -> list[AuthSync]:
    """Declare ``git``, ``claude``, ``codex``, ``pi`` and ``gh``."""
    from banger_authsync.identity import read_identity

    # Where each tool keeps its login is in its own documentation; the places are the same in the guest.
    logins = {
        "claude": "~/.claude/.credentials.json",
        "codex": "~/.codex/auth.json",
        "gh": "~/.config/gh/hosts.yml",
        "pi": "~/.pi/agent/auth.json",
    }
    git = AuthSync("git", "~/.gitconfig", "~/.gitconfig", 0o644, read=read_identity, keep=True)
    return [git, *(AuthSync(name, path, path) for name, path in logins.items())]


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare ``auth.list``."""
    from banger_authsync.operations import OPERATIONS

    return OPERATIONS


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``auth list``."""
    return [Command("auth list", "list what may be lent to VMs", "banger_authsync.commands:list_command")]
