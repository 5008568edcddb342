"""Operations on VMs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from banger.config.paths import make_private
from banger.daemon.choices import Choice, VmChoices, choose
from banger.daemon.context import OperationContext
from banger.daemon.guests import LoopGuest
from banger.daemon.lifecycle import (
    STOP_TIMEOUT,
    delete_vm,
    reserve,
    resolve_vm,
    start_vm,
    stop_vm,
)
from banger.daemon.ops.detail import (
    ForwardedPort,
    Params,
    VmDetail,
    VmParams,
    detail,
    labels_of,
    ports_of,
    unhealthy_of,
)
from banger.daemon.room import check_room
from banger.daemon.starts import open_handles, vm_paths
from banger.daemon.takedown import current_vm, save_vm
from banger.errors import BangerError, GuestError, HostError
from banger.guest.channel import GuestRefusal
from banger.guest.wire import clean_text
from banger.host.folder import remove_tree
from banger.model.command import Lease, Operation
from banger.model.vm import Vm, VmState

#: Seconds that a guest's init gets to reach its default target.
_SYSTEM_TIMEOUT = 120.0
#: Seconds beyond that for the answer: the agent lists failed units in 5, and the guest may be busy.
_SYSTEM_ANSWER = 30.0


class VmCreateParams(VmChoices):
    """A new VM.

    ``wait``: ``agent`` returns when commands can run, ``system`` when the init's default target is reached;
    ``remove``: a create that fails leaves nothing, where else a VM in state error stays to be looked at; a client that
    takes the answer as NDJSON holds the VM by its connection, which stays open: when it ends, the VM goes, unless
    ``op.keep`` came before; ``content``: a directory of ``<state>/handover`` that the caller filled, taken over and put
    on the work disk as that is made, at the first start.
    """

    start: bool = True
    content: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")
    remove: bool = False
    wait: Literal["agent", "system"] = "system"


class VmList(BaseModel):
    """Every VM, oldest first.

    ``statuses``: VM id -> what its VMM says, for those that run and yet do not go on; ``ports``: VM id -> its
    published ports as they are now; ``labels``: VM id -> what plugins say of it, by name; ``unhealthy``: VM id -> what
    its guest does wrong.
    """

    vms: tuple[Vm, ...]
    labels: dict[str, dict[str, str]] = {}
    statuses: dict[str, str] = {}
    unhealthy: dict[str, str] = {}
    ports: dict[str, tuple[ForwardedPort, ...]] = {}


class VmStopParams(VmParams):
    """``timeout``: seconds the guest gets to power off by itself."""

    timeout: float = Field(default=STOP_TIMEOUT, ge=0, le=3600)


class VmDeleteParams(VmParams):
    """``force`` passes over what cannot be released and plugins that are gone; ``down``: only one that does not run."""

    force: bool = False
    down: bool = False


class VmStartParams(VmParams):
    """``wait``, ``overcommit``: as for create."""

    wait: Literal["agent", "system"] = "system"
    overcommit: bool = False


class VmPlan(BaseModel):
    """The steps of a start, in order."""

    steps: tuple[str, ...]


def create(op: OperationContext, params: VmCreateParams) -> VmDetail:
    """Create a VM and start it. One that is cancelled leaves nothing; one that fails leaves a VM in state error."""
    choice: Choice = choose(op, params)
    op.check_cancelled()
    vm = reserve(op, choice, params.name)
    op.event("reserved", name=vm.name, id=vm.id)
    content = vm_paths(op.services, vm).content
    if params.start:
        try:
            if params.content is not None:
                _adopt(op, params.content, content)
            vm = start_vm(op, vm.id, first=True)
            vm = wait_system(op, vm, params.wait)
            op.check_cancelled()
        except Exception as error:
            if op.cancelled() or params.remove:
                op.record.cancel.clear()
                delete_vm(op, vm.id)
                if isinstance(error, BangerError) and error.hint and vm.name in error.hint:
                    error.hint = "without --rm the VM stays, and banger vm logs shows its console"
            else:
                kept = op.services.database.vm(vm.id) or vm
                stays = f"'{vm.name}' stays, in state {kept.state}; delete it: banger vm delete {vm.name}"
                op.event("notice", text=stays)
                if isinstance(error, BangerError) and error.hint is None:
                    error.hint = f"banger vm logs {vm.name}"
            raise
        finally:
            left = content.exists()
            remove_tree(content)  # what no step put on the disk
    placed = params.content is not None and params.start and not left
    return detail(op, vm, choice.notices).model_copy(update={"content": placed})


def _adopt(op: OperationContext, name: str, content: Path) -> None:
    """Take over the directory that is to go on the new VM's work disk."""
    try:
        (op.services.paths.handover / name).rename(make_private(content.parent) / content.name)
    except OSError as error:
        raise HostError(f"what is to go on the work disk is gone: {error.strerror}") from error


def _end_lease(op: OperationContext, result: dict[str, Any]) -> None:
    delete_vm(op, result["vm"]["id"])


def start(op: OperationContext, params: VmStartParams) -> VmDetail:
    """Start a VM that is not running."""
    vm = resolve_vm(op.services, params.vm)
    if not params.overcommit and vm.state in (VmState.STOPPED, VmState.CREATED, VmState.ERROR):
        check_room(op.services, f"'{vm.name}'", vm.spec.memory_mib)
    vm = start_vm(op, vm.id)
    return detail(op, wait_system(op, vm, params.wait))


def wait_system(op: OperationContext, vm: Vm, wait: str) -> Vm:
    """Wait for the init's default target where that was asked for, and write down how long it took.

    Commands run in the guest by then: services that do not settle in time are a notice, and the VM stays as it is.
    """
    if wait != "system":
        return vm
    began = time.monotonic()
    op.progress("system", "waiting for the guest's services")
    services = op.services
    guest = LoopGuest(
        services.loop, services.guests, vm.id, vm_paths(services, vm).channel, watch=op.check_cancelled
    )
    state, units = _ask_system(guest)
    if units:
        op.event("notice", text=f"units that failed in the guest: {', '.join(units)}")
    elif state not in ("running", "degraded", "unmanaged"):
        late = f"the guest's services did not settle within {_SYSTEM_TIMEOUT:.0f} s ({state})"
        look = f"to go on waiting: banger vm wait {vm.name}"
        op.event("notice", text=f"{late}; '{vm.name}' runs and takes commands; {look}")
    timings = {**vm.timings, "system": round(time.monotonic() - began, 4)}
    return save_vm(services, current_vm(services, vm.id), timings=timings)


def _ask_system(guest: LoopGuest) -> tuple[str, list[str]]:
    """Return the init's state and the units that failed; ``timeout`` when only the answer to that is late."""
    try:
        answer = guest.request(
            "wait-system", timeout=_SYSTEM_TIMEOUT + _SYSTEM_ANSWER, timeout_s=int(_SYSTEM_TIMEOUT)
        )
    except GuestRefusal:
        raise
    except GuestError as error:
        try:
            guest.request("health", timeout=_SYSTEM_ANSWER)
        except GuestError:
            raise error from None
        return "timeout", []
    failed = answer.get("failed")
    units = [clean_text(unit, 100) for unit in failed[:20]] if isinstance(failed, list) else []
    return clean_text(answer.get("state", ""), 40), units


def stop(op: OperationContext, params: VmStopParams) -> VmDetail:
    """Stop a VM through its init, bounded."""
    return detail(op, stop_vm(op, resolve_vm(op.services, params.vm).id, timeout=params.timeout))


def delete(op: OperationContext, params: VmDeleteParams) -> VmDetail:
    """Delete a VM, its disks and everything it holds."""
    vm = delete_vm(op, resolve_vm(op.services, params.vm).id, force=params.force, down=params.down)
    return VmDetail(vm=vm)


def list_vms(op: OperationContext, _: BaseModel) -> VmList:
    """List every VM."""
    statuses = {
        vm_id: status.state for vm_id, status in dict(op.services.statuses).items() if not status.runs
    }
    vms = tuple(op.services.database.vms())
    relays = op.services.relays
    open_ = [vm for vm in vms if vm.state is VmState.RUNNING and (vm.present_spec.publish or vm.id in relays)]
    ports = {vm.id: ports_of(op.services, vm, open_handles(op.services, vm, lenient=True)) for vm in open_}
    labels = {vm.id: said for vm in vms if (said := labels_of(op.services, vm))}
    unhealthy = {vm.id: reason for vm in vms if (reason := unhealthy_of(op.services, vm)) is not None}
    return VmList(vms=vms, statuses=statuses, ports=ports, labels=labels, unhealthy=unhealthy)


def show(op: OperationContext, params: VmParams) -> VmDetail:
    """Show one VM, and what its VMM says of it."""
    vm = resolve_vm(op.services, params.vm)
    found = detail(op, vm)
    vmm = op.services.registries.vmms.get(vm.spec.vmm)
    if found.pid is None or vmm is None or vmm.status is None:
        return found
    status = op.services.statuses.get(vm.id) or vmm.status(vm_paths(op.services, vm).sockets)
    return found.model_copy(update={"status": status.words})


def plan(op: OperationContext, params: VmParams) -> VmPlan:
    """Return the numbered plan of a VM's start."""
    vm = resolve_vm(op.services, params.vm)
    steps = op.services.registries.plan(vm.spec.capabilities)
    return VmPlan(steps=tuple(f"{owned.value.name} ({owned.plugin})" for owned in steps))


class Empty(Params):
    """Nothing."""


OPERATIONS = [
    Operation(
        "vm.create",
        "create a VM and start it",
        VmCreateParams,
        VmDetail,
        create,
        lease=Lease(lambda params: params.remove, _end_lease),
    ),
    Operation("vm.start", "start a VM", VmStartParams, VmDetail, start),
    Operation("vm.stop", "stop a VM through its init", VmStopParams, VmDetail, stop),
    Operation("vm.delete", "delete a VM and its disks", VmDeleteParams, VmDetail, delete),
    Operation("vm.list", "list VMs", Empty, VmList, list_vms),
    Operation("vm.show", "show a VM", VmParams, VmDetail, show),
    Operation("vm.plan", "the steps of a VM's start", VmParams, VmPlan, plan),
]
