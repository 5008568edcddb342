"""Operations that change what a VM is: its sizes, its ports, its name."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import Field

from banger.daemon.address import check_pair, ensure_address
from banger.daemon.capabilities import change_capabilities, check_capabilities, move_capabilities
from banger.daemon.choices import Sizes, check_shape
from banger.daemon.context import OperationContext
from banger.daemon.lifecycle import resolve_vm
from banger.daemon.networks import check_published, parse_published
from banger.daemon.ops.detail import VmDetail, VmParams, VmReference, detail
from banger.daemon.room import check_disk_room
from banger.daemon.services import Services
from banger.daemon.starts import open_handles, vm_paths
from banger.daemon.takedown import current_vm, save_vm
from banger.errors import ConflictError, UsageError, VmmError
from banger.model.command import Operation
from banger.model.label import parse_labels
from banger.model.name import check_vm_name
from banger.model.size import format_mib
from banger.model.vm import Vm, VmSpec, VmState

log = logging.getLogger(__name__)


class VmSetParams(Sizes):
    """What is to change; the rest stays. Disks only grow. ``publish`` adds, ``unpublish`` takes guest ports away.

    ``label``: ``KEY=VALUE`` texts; ``unlabel``: keys. Labels change at once, and so do capabilities that have no part
    in a start. ``network``: another one; the VM gets an address there. ``overcommit``: although the host's disk has not
    enough room for what the disks may grow to.
    """

    vm: VmReference
    network: str | None = Field(default=None, min_length=1, max_length=80)
    publish: tuple[str, ...] = Field(default=(), max_length=64)
    unpublish: tuple[int, ...] = Field(default=(), max_length=64)
    label: tuple[str, ...] = Field(default=(), max_length=64)
    unlabel: tuple[str, ...] = Field(default=(), max_length=64)
    with_: tuple[str, ...] = Field(default=(), max_length=64, alias="with")
    without: tuple[str, ...] = Field(default=(), max_length=64)
    overcommit: bool = False


class VmRenameParams(VmParams):
    """``name``: the new one."""

    name: str


def set_vm(op: OperationContext, params: VmSetParams) -> VmDetail:
    """Change a VM's sizes and ports; a running one takes up at its next start what it cannot now."""
    services = op.services
    vm = resolve_vm(services, params.vm)
    with services.locks.hold("vm", vm.id, cancelled=op.cancelled):
        vm = current_vm(services, vm.id)
        before = vm.spec
        spec, labels = _changed(services, vm, params), _relabelled(vm, params)
        if spec is vm.spec and not (params.label or params.unlabel):
            raise UsageError("nothing to change was given", hint="banger vm set --help")
        check_shape(spec)
        if not params.overcommit:
            grown = spec.disk_mib - vm.spec.disk_mib + spec.overlay_mib - vm.spec.overlay_mib
            check_disk_room(services, f"'{vm.name}'", grown)
        if labels != vm.labels:
            vm = save_vm(services, vm, labels=labels)
        if spec != vm.spec:
            vm = _close_ports(services, _take(services, vm, spec))
    if params.memory is not None and vm.running_spec is not None:
        vm = _try_memory(services, vm)
    if _is_down(vm) or not _waits(services, vm, before):
        return detail(op, vm)
    notice = f"'{vm.name}' is {vm.state}; it changes at its next start: banger vm restart {vm.name}"
    op.event("notice", text=notice)
    return detail(op, vm, (notice,))


def _try_memory(services: Services, vm: Vm) -> Vm:
    """Let a running guest have its new memory now, where VMM and guest can; without the VM's lock meanwhile."""
    vmm, wanted, status = services.registries.vmms.get(vm.spec.vmm), vm.spec, services.statuses.get(vm.id)
    if (
        vm.state is not VmState.RUNNING
        or vmm is None
        or vmm.set_memory is None
        or (status and not status.runs)
    ):
        return vm
    try:
        has = vmm.set_memory(vm_paths(services, vm).sockets, wanted.memory_mib)
    except VmmError as error:
        log.warning("the memory of %s does not change now: %s", vm.name, error)
        return vm
    with services.locks.hold("vm", vm.id):
        now = current_vm(services, vm.id)
        if has != wanted.memory_mib or now.running_spec is None or now.started_at != vm.started_at:
            return now
        present = now.running_spec.model_copy(update={"memory_mib": has})
        return save_vm(services, now, running_spec=None if present == now.spec else present)


def _take(services: Services, vm: Vm, spec: VmSpec) -> Vm:
    """Write down what a VM is to be; one that is down gets its address in another network now, others as they start."""
    moved = _is_down(vm) and spec.network != vm.spec.network
    address = {"address": None} if moved else {}
    vm = save_vm(services, vm, spec=spec, running_spec=_present(services, vm, spec), **address)
    return ensure_address(services, vm) if moved else vm


def _close_ports(services: Services, vm: Vm) -> Vm:
    """Close the ports that a running VM was started with and is not to have any more; others close when it stops."""
    gone = {port.guest for port in vm.present_spec.publish if port not in vm.spec.publish}
    vmm, handles = services.registries.vmms.get(vm.spec.vmm), open_handles(services, vm)
    network = handles.find("network")
    if (
        not gone
        or vm.state is not VmState.RUNNING
        or vmm is None
        or vmm.close_port is None
        or network is None
    ):
        return vm
    forwards: list[tuple[str, int, int]] = network.data.get("forwards", [])
    try:
        for address, host, guest in forwards:
            if guest in gone:
                vmm.close_port(vm_paths(services, vm).sockets, address, host)
    except VmmError as error:
        log.warning("ports of %s close when it stops: %s", vm.name, error)
        return vm
    network.data["forwards"] = [forward for forward in forwards if forward[2] not in gone]
    handles.save()
    kept = tuple(port for port in vm.present_spec.publish if port.guest not in gone)
    present = vm.present_spec.model_copy(update={"publish": kept})
    return save_vm(services, vm, running_spec=None if present == vm.spec else present)


def _is_down(vm: Vm) -> bool:
    return vm.state in (VmState.STOPPED, VmState.CREATED, VmState.ERROR)


def _waits(services: Services, vm: Vm, before: VmSpec) -> bool:
    """Tell whether something that was changed, or given again, is so from a running VM's next start only."""
    now, then = vm.present_spec, vm.spec
    differs = {name for name, value in now if value != getattr(then, name)}
    changed = {name for name, value in before if value != getattr(then, name)}
    relayed = any(owned.value.relays for owned in services.registries.services.owned())
    if relayed and set(then.publish) >= set(now.publish):
        differs.discard("publish")
    return bool(differs & changed if changed else differs)


def _present(services: Services, vm: Vm, spec: VmSpec) -> VmSpec | None:
    """Return what a VM has until its next start, None when that is ``spec``."""
    if _is_down(vm):
        return None

    def waits(name: str) -> bool:
        capability = services.registries.capabilities.get(name)
        return capability is None or bool(capability.steps or capability.drives or capability.guest_config)

    held = {name: options for name, options in vm.present_spec.capabilities.items() if waits(name)}
    at_once = {name: options for name, options in spec.capabilities.items() if not waits(name)}
    present = vm.present_spec.model_copy(update={"capabilities": {**held, **at_once}})
    return None if present == spec else present


def _changed(services: Services, vm: Vm, params: VmSetParams) -> VmSpec:
    changes: dict[str, Any] = {}
    if params.vcpu is not None:
        changes["vcpu"] = params.vcpu
    if params.memory is not None:
        changes["memory_mib"] = params.memory
    if params.disk_size is not None:
        changes["disk_mib"] = _grown("--disk-size", vm.spec.disk_mib, params.disk_size)
    if params.overlay_size is not None:
        changes["overlay_mib"] = _grown("--overlay-size", vm.spec.overlay_mib, params.overlay_size)
    if params.publish or params.unpublish:
        kept = [port for port in vm.spec.publish if port.guest not in params.unpublish]
        missing = set(params.unpublish) - {port.guest for port in vm.spec.publish}
        if missing:
            raise UsageError(f"port {min(missing)} is not published", hint=f"banger vm show {vm.name}")
        changes["publish"] = parse_published(
            (*(f"{port.host}:{port.guest}" for port in kept), *params.publish)
        )
    changes |= _change_network(services, vm, params)
    spec = vm.spec.model_copy(update=changes) if changes else vm.spec
    network = services.registries.networks.get(spec.network)
    if network is not None and (params.publish or params.network is not None):
        check_published(network, spec.publish)
    return spec


def _change_network(services: Services, vm: Vm, params: VmSetParams) -> dict[str, Any]:
    """Return the network and the capabilities that go with it, where one or the other is to change."""
    if params.network is None and not params.with_ and not params.without:
        return {}
    networks, held = services.registries.networks, vm.spec.capabilities
    before = networks.get(vm.spec.network)
    after = before if params.network is None else networks[check_pair(services, vm, params.network)]
    if after is not None and after is not before:
        held = move_capabilities(services, held, before, after)
    held = change_capabilities(services, held, params.with_, params.without)
    if after is not None:
        check_capabilities(services, held, after)
    return {"capabilities": held, **({"network": after.name} if after is not None else {})}


def _relabelled(vm: Vm, params: VmSetParams) -> dict[str, str]:
    missing = sorted(set(params.unlabel) - set(vm.labels))
    if missing:
        raise UsageError(f"'{vm.name}' has no label '{missing[0][:80]}'", hint=f"banger vm show {vm.name}")
    kept = {key: value for key, value in vm.labels.items() if key not in params.unlabel}
    return {**kept, **parse_labels(params.label)}


def _grown(flag: str, now: int, wanted: int) -> int:
    if wanted < now:
        raise UsageError(
            f"{flag} {format_mib(wanted)} is less than the {format_mib(now)} it has: disks only grow",
            hint=f"{flag} {format_mib(now)} or more",
        )
    return wanted


def rename(op: OperationContext, params: VmRenameParams) -> VmDetail:
    """Give a VM another name; its guest has it as host name from the next start on."""
    services = op.services
    check_vm_name(params.name)
    vm = resolve_vm(services, params.vm)
    before = vm.name
    with services.locks.hold("vm", vm.id, cancelled=op.cancelled):
        vm = current_vm(services, vm.id)
        with services.locks.hold("reserve"):
            if any(other.name == params.name and other.id != vm.id for other in services.database.vms()):
                raise ConflictError(
                    f"a VM called '{params.name}' exists",
                    hint=f"choose another name, or: banger vm delete {params.name}",
                )
            vm = save_vm(services, vm, name=params.name)
    if _is_down(vm) or vm.name == before:
        return detail(op, vm)
    notice = f"inside, its host name stays as it was until its next start: banger vm restart {vm.name}"
    op.event("notice", text=notice)
    return detail(op, vm, (notice,))


OPERATIONS = [
    Operation("vm.set", "change what a VM has", VmSetParams, VmDetail, set_vm),
    Operation("vm.rename", "give a VM another name", VmRenameParams, VmDetail, rename),
]
