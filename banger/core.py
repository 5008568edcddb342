"""What every machine needs: the start spine, the operations, the commands, the basic checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger.hookspecs import hookimpl

if TYPE_CHECKING:
    from banger.model.check import Check
    from banger.model.command import Command, Operation
    from banger.start.step import StartStep


@hookimpl
def banger_register_start_steps() -> list[StartStep]:
    """Declare the spine."""
    from banger.start.spine import SPINE

    return list(SPINE)


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare the core's operations."""
    from banger.daemon.ops import (
        config,
        console,
        doctor,
        health,
        logs,
        operations,
        power,
        self,
        shape,
        ssh,
        store,
        stream,
        vm,
    )

    families = (vm, logs, power, shape, health, stream, console, ssh, store, config, operations, doctor, self)
    return [operation for family in families for operation in family.OPERATIONS]


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare the core's commands."""
    from banger.cli.table import COMMANDS

    return list(COMMANDS)


@hookimpl
def banger_register_checks() -> list[Check]:
    """Declare what is looked at on every host."""
    from banger.host.checks import CHECKS

    return list(CHECKS)
