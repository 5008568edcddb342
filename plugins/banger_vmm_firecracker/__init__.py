"""Firecracker as the virtual machine monitor: small, under KVM, on a tap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger.api import Vmm, VmmFeatures, hookimpl

if TYPE_CHECKING:
    from banger.api import Vm


@hookimpl
def banger_register_vmms() -> list[Vmm]:
    """Declare Firecracker."""
    from banger_vmm_firecracker import machine, process, run_state
    from banger_vmm_firecracker.checks import CHECKS
    from banger_vmm_firecracker.probe import probe

    return [
        Vmm(
            name="firecracker",
            summary="Firecracker: small and quick to start; needs KVM and a tap (--net bridge)",
            features=VmmFeatures(
                attachments=frozenset({"tap"}),
                disk_formats=frozenset({"raw"}),
                guest_channel="vsock",
                jailed=True,
            ),
            priority=40,
            guest_modules=machine.GUEST_MODULES,
            probe=probe,
            build=machine.build,
            launch=process.launch,
            find_process=process.find,
            kill=process.kill,
            checks=CHECKS,
            status=run_state.status,
            pause=run_state.pause,
            resume=run_state.resume,
        )
    ]


@hookimpl
def banger_vm_deleted(vm: Vm) -> None:
    """Remove the jail of a VM whose record of it was lost."""
    from banger_vmm_firecracker.jail import forget

    forget(vm)
