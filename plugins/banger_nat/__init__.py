"""A way out for VMs on a bridge: the host masquerades what they send."""

from __future__ import annotations

from banger.api import Capability, Check, Service, StartStep, Vm, hookimpl


@hookimpl
def banger_register_capabilities() -> list[Capability]:
    """Declare the capability ``nat``."""
    from banger_nat.step import allow, deny

    step = StartStep("nat", allow, after=("net-ready",), before=("boot",), undo=deny)
    return [
        Capability(
            "nat",
            "a way out of the bridge, masqueraded by the host",
            default=True,
            steps=(step,),
            attachments=frozenset({"tap"}),
        )
    ]


@hookimpl
def banger_register_services() -> list[Service]:
    """Declare what sets the rules right when the daemon starts."""
    from banger_nat.service import serve

    return [Service("nat", "gives running VMs their way out again when the daemon starts", serve)]


@hookimpl
def banger_register_checks() -> list[Check]:
    """Declare whether what VMs send gets out."""
    from banger_nat.check import check_nat

    return [Check("nat", check_nat)]


@hookimpl
def banger_vm_deleted(vm: Vm) -> None:
    """Take its way out away, in case nobody could read what it held."""
    if "nat" in vm.spec.capabilities:
        from banger_nat.service import deny_lost

        deny_lost(vm)
