"""Snapshots: a VM's disks kept as they are at one moment, and put back."""

from __future__ import annotations

from banger.api import Command, Operation, Service, StartStep, hookimpl


@hookimpl
def banger_register_settings() -> list[str]:
    """Declare ``[plugins.snapshots]``."""
    return ["banger_snapshots.settings:Settings"]


@hookimpl
def banger_register_start_steps() -> list[StartStep]:
    """Declare what ends a restore that was cut off, before a start looks at the disks."""
    from banger_snapshots.restore import finish_before_start

    return [StartStep("finish-restore", finish_before_start, before=("preflight",))]


@hookimpl
def banger_register_services() -> list[Service]:
    """Declare the same for when the daemon starts."""
    from banger_snapshots.restore import serve

    return [Service("snapshots", "ends restores that were cut off", serve)]


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare ``snapshot.create``, ``.list``, ``.restore`` and ``.delete``."""
    from banger_snapshots.operations import OPERATIONS

    return list(OPERATIONS)


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``vm snapshot``."""
    here = "banger_snapshots.commands"
    return [
        Command("vm snapshot create", "keep a VM's disks as they are now", f"{here}:create"),
        Command("vm snapshot list", "list a VM's snapshots", f"{here}:list_command"),
        Command("vm snapshot restore", "put a VM's disks back to a snapshot", f"{here}:restore"),
        Command("vm snapshot delete", "delete snapshots of a VM", f"{here}:delete"),
    ]
