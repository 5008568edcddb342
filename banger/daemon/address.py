"""A VM's own address on the host: given by its network mode, kept until the VM goes or changes its network."""

from __future__ import annotations

from typing import Any

from banger.daemon.services import Services
from banger.errors import UsageError
from banger.model.vm import Vm


def choose_address(services: Services, vm: Vm, others: list[Vm]) -> str | None:
    """Return an address that no other VM holds, None where the network gives none; the caller holds ``reserve``."""
    assign = services.registries.networks.resolve(vm.spec.network).assign
    if assign is None:
        return None
    taken = frozenset(other.address for other in others if other.address and other.id != vm.id)
    return assign(vm, taken, services.settings_of_network(vm.spec.network))


def ensure_address(services: Services, vm: Vm) -> Vm:
    """Give a VM that has no address one, where its network has some, and write it down."""
    if vm.address is not None:
        return vm
    with services.locks.hold("reserve"):
        address = choose_address(services, vm, services.database.vms())
        if address is not None:
            vm = vm.model_copy(update={"address": address})
            services.database.update_vm(vm)
    return vm


def after_run(vm: Vm) -> dict[str, Any]:
    """Return what else changes in the row of a VM that is down: an address of the network it leaves is given back."""
    moved = vm.present_spec.network != vm.spec.network
    return {"running_spec": None, **({"address": None} if moved else {})}


def check_pair(services: Services, vm: Vm, network: str) -> str:
    """Return a network's name; UsageError unless the VM's VMM takes what that network gives."""
    mode = services.registries.networks.resolve(network)
    vmm = services.registries.vmms.resolve(vm.spec.vmm)
    if mode.attachment not in vmm.features.attachments:
        raise UsageError(
            f"vmm '{vmm.name}' and network '{mode.name}' do not go together: it does not take {mode.attachment}",
            hint=f"'{vm.name}' has its vmm for good; for another: banger vm create --vmm NAME --net {mode.name}",
        )
    return mode.name
