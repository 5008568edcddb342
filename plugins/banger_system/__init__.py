"""System mode: two services of systemd's in a tree that is root's alone, ``system install``, and whether it holds."""

from __future__ import annotations

from banger.api import Check, Command, hookimpl


@hookimpl
def banger_register_checks() -> list[Check]:
    """Declare whether what the services run is root's alone, and whether they run."""
    from banger_system.check import check_code, check_services

    return [Check("code of the services", check_code), Check("services", check_services)]


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``system install``, ``status``, ``restart`` and ``uninstall``."""
    here = "banger_system.commands"
    return [
        Command(
            "system install", "make banger a service of this host, for one user (as root)", f"{here}:install"
        ),
        Command("system restart", "start the services again; VMs go on (as root)", f"{here}:restart"),
        Command("system status", "show the services, and whose they are", f"{here}:status"),
        Command("system uninstall", "undo system install (as root)", f"{here}:uninstall"),
    ]
