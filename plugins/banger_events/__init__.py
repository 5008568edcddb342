"""A journal of what becomes of VMs, and ``vm events`` to read and follow it."""

from __future__ import annotations

from banger.api import Command, Vm, hookimpl


@hookimpl
def banger_vm_created(vm: Vm) -> None:
    """Note it."""
    _note("created", vm)


@hookimpl
def banger_vm_started(vm: Vm) -> None:
    """Note it."""
    _note("started", vm)


@hookimpl
def banger_vm_stopped(vm: Vm) -> None:
    """Note it."""
    _note("stopped", vm)


@hookimpl
def banger_vm_deleted(vm: Vm) -> None:
    """Note it."""
    _note("deleted", vm)


@hookimpl
def banger_vm_start_failed(vm: Vm, error: str) -> None:
    """Note it, with the first line of the error."""
    _note("failed", vm, error=error)


@hookimpl
def banger_vm_port_opened(vm: Vm, endpoint: str, guest: str) -> None:
    """Note it."""
    _note("port-opened", vm, endpoint=endpoint, guest=guest)


@hookimpl
def banger_vm_port_closed(vm: Vm, endpoint: str, guest: str) -> None:
    """Note it."""
    _note("port-closed", vm, endpoint=endpoint, guest=guest)


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare ``vm events``."""
    return [Command("vm events", "show what became of VMs", "banger_events.commands:events")]


def _note(event: str, vm: Vm, **facts: str) -> None:
    from banger_events.journal import append

    append(event, vm, **facts)
