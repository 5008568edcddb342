"""opencode in VMs: found or installed, served on a port, its login lent, a terminal of it by ``vm opencode``."""

from __future__ import annotations

from banger.api import AuthSync, Capability, Command, StartStep, hookimpl


@hookimpl
def banger_register_auth_syncs() -> list[AuthSync]:
    """Declare ``opencode``."""
    path = "~/.local/share/opencode/auth.json"
    return [AuthSync("opencode", path, path)]


@hookimpl
def banger_register_capabilities() -> list[Capability]:
    """Declare the capability ``opencode``, off unless it is asked for."""
    from banger_opencode.step import make_ready

    return [
        Capability(
            name="opencode",
            summary="the coding agent opencode: found or installed, with your login, served on a port if asked",
            options="banger_opencode.options:Options",
            steps=(StartStep("opencode", make_ready, after=("guest-ready",), before=("started",)),),
            lends=("opencode",),
        )
    ]


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``vm opencode``."""
    return [Command("vm opencode", "work with opencode in a VM", "banger_opencode.commands:opencode")]
