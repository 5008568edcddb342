"""Limits on VMs' processes: a control group for each, where the daemon may make some."""

from __future__ import annotations

from banger.api import Check, Service, Vm, hookimpl


@hookimpl
def banger_register_services() -> list[Service]:
    """Declare what keeps the groups."""
    from banger_limits.service import serve

    return [Service("limits", "bounds what VMs' processes may take of this host", serve)]


@hookimpl
def banger_register_checks() -> list[Check]:
    """Declare whether there are limits."""
    from banger_limits.check import check_limits

    return [Check("limits", check_limits)]


@hookimpl
def banger_vm_started(vm: Vm) -> None:
    """Put it into its group."""
    from banger_limits.service import look_again

    look_again()


@hookimpl
def banger_vm_stopped(vm: Vm) -> None:
    """Remove its group."""
    from banger_limits.service import look_again

    look_again()


@hookimpl
def banger_vm_deleted(vm: Vm) -> None:
    """Remove its group."""
    from banger_limits.service import look_again

    look_again()
