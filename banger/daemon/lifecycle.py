"""The life of a VM: create, start, stop, kill, delete. Blocking functions for worker threads."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
import uuid
from datetime import UTC, datetime

from banger.daemon.address import choose_address, ensure_address
from banger.daemon.choices import Choice
from banger.daemon.context import OperationContext
from banger.daemon.guests import LoopGuest
from banger.daemon.orphans import end_processes
from banger.daemon.services import Services
from banger.daemon.starts import Start, open_handles, running_process, undo_factory, vm_paths
from banger.daemon.takedown import (
    current_vm,
    drop_channel,
    finish_stop,
    holds_anything,
    interrupt_start,
    is_down,
    log_event,
    save_vm,
    take_down,
)
from banger.daemon.watch import watch_vmm
from banger.errors import CancelledError, ConflictError, GuestError, NotFoundError, StoreError
from banger.guest.stream import GuestRefusal
from banger.host.folder import remove_tree
from banger.host.ssh import SshFiles
from banger.model.name import make_vm_name, unknown_hint
from banger.model.vm import Vm, VmState
from banger.start.run import missing_step, quiesce_steps, remove_steps, undo_steps

log = logging.getLogger(__name__)

#: Seconds a VMM gets to end by itself once its guest was told to power off, unless the caller says otherwise.
STOP_TIMEOUT = 30.0
#: Seconds that a VMM gets to act on a signal before it is ended.
_SIGNAL_SECONDS = 3.0
#: Seconds a guest gets to answer that it will power off; the first is for one that there is no channel to, which may
#: still be booting, the other for one that answers at once if it does at all.
_FIRST_TIMEOUT, _ASK_TIMEOUT = 10.0, 4.0
#: Seconds between two times that it is asked, where the channel to it was lost.
_ASK_PAUSE = 0.2
#: Seconds that it gets to write its disks out when its init did not power off.
_WRITE_TIMEOUT = 10.0


def resolve_vm(services: Services, reference: str) -> Vm:
    """Return the VM that a name, an id or at least four digits of one mean; NotFoundError or ConflictError else."""
    vms = services.database.vms()
    for vm in vms:
        if reference in (vm.name, vm.id):
            return vm
    close = [vm for vm in vms if len(reference) >= 4 and vm.id.startswith(reference)]
    if len(close) == 1:
        return close[0]
    if close:
        raise ConflictError(f"'{reference}' means more than one VM", hint=", ".join(vm.name for vm in close))
    if services.database.damaged("vms", reference):
        raise StoreError(
            f"the record of '{reference}' is damaged, or a newer banger wrote it",
            hint="install the newer banger again; what is wrong with it: banger daemon logs",
        )
    hint = unknown_hint(reference, [vm.name for vm in vms], "see: banger vm list")
    raise NotFoundError(f"there is no VM '{reference[:80]}'", hint=hint)


def reserve(op: OperationContext, choice: Choice, name: str | None) -> Vm:
    """Give a new VM its name, address and row; milliseconds."""
    services = op.services
    with services.locks.hold("reserve"):
        others = services.database.vms()
        vm = Vm(
            id=_new_id(others),
            name=name or make_vm_name(other.name for other in others),
            state=VmState.CREATED,
            spec=choice.spec,
            labels=choice.labels,
            image=choice.image.digest,
            kernel=choice.kernel.digest,
            image_name=choice.image.name,
            kernel_name=choice.kernel.name,
            created_at=datetime.now(UTC),
        )
        vm = vm.model_copy(update={"address": choose_address(services, vm, others)})
        services.database.add_vm(vm)
    services.plugins.emit("vm_created", vm, log_event)
    return vm


def _new_id(others: list[Vm]) -> str:
    """Return an id whose first 8 digits are free: the sockets' directory is named by them."""
    taken = {other.id[:8] for other in others}
    return next(number for number in iter(lambda: uuid.uuid4().hex, "") if number[:8] not in taken)


def start_vm(op: OperationContext, vm_id: str, *, first: bool = False) -> Vm:
    """Start a VM; one that is to be provisioned is, before its first start. On failure nothing is held."""
    vm = current_vm(op.services, vm_id)
    if vm.spec.init == "provisioned" and not vm.provisioned:
        from banger.daemon.provision import provision_vm

        provision_vm(op, vm, first=first)
        first = False
    return start_once(op, vm_id, first=first)


def start_once(op: OperationContext, vm_id: str, *, first: bool = False) -> Vm:
    """Start a VM under its lock; on failure it is left in state error with nothing held."""
    services = op.services
    services.check_configured()
    failure: BaseException | None = None
    with services.locks.hold("vm", vm_id, cancelled=op.cancelled):
        vm = _begin_start(services, vm_id)
        began = time.monotonic()
        try:
            timings = Start(op, vm, first=first).run()
            timings["total"] = round(time.monotonic() - began, 4)
            vm = _note_started(services, vm, timings)
            stages = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in timings.items())
            log.info("%s is started: %s", vm.name, stages)
        except BaseException as error:
            failure, vm = error, _note_failure(services, vm, error)
            if isinstance(error, CancelledError) and not first:
                error.hint = f"'{vm.name}' is {vm.state}"
    if failure is not None:
        services.plugins.emit("vm_start_failed", vm, log_event, error=vm.last_error or "")
        raise failure
    services.loop.call_soon_threadsafe(watch_vmm, services, vm_id)
    services.plugins.emit("vm_started", vm, log_event)
    return vm


def _begin_start(services: Services, vm_id: str) -> Vm:
    vm = current_vm(services, vm_id)
    if vm.state is VmState.RUNNING:
        raise ConflictError(f"'{vm.name}' is running", hint=f"banger vm exec {vm.name} -- COMMAND")
    if vm.state is VmState.STOPPING:
        raise ConflictError(f"'{vm.name}' is stopping", hint=f"wait, or: banger vm kill {vm.name}")
    if vm.deleting:
        raise ConflictError(
            f"'{vm.name}' was being deleted: its disks are gone, or may be",
            hint=f"banger vm delete {vm.name}",
        )
    if holds_anything(services, vm):
        vm = finish_stop(services, vm)
    vm = ensure_address(services, vm)
    return save_vm(services, vm, state=VmState.STARTING, last_error=None, running_spec=None)


def _note_started(services: Services, vm: Vm, timings: dict[str, float]) -> Vm:
    """Write down that a VM runs; one that this cannot be written of is taken down again."""
    try:
        return save_vm(services, vm, state=VmState.RUNNING, started_at=datetime.now(UTC), timings=timings)
    except BaseException:
        take_down(services, vm)
        raise


def _note_failure(services: Services, vm: Vm, error: BaseException) -> Vm:
    drop_channel(services, vm.id)
    original = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    state = VmState.STOPPED if isinstance(original, CancelledError) else VmState.ERROR
    return save_vm(services, vm, state=state, last_error=str(original) or type(original).__name__)


def stop_vm(op: OperationContext, vm_id: str, *, timeout: float = STOP_TIMEOUT) -> Vm:
    """Power a VM off through its init, at most ``timeout`` seconds, then end its VMM and release what it held.

    The guest is waited for without the VM's lock, so that kill and delete never queue behind it.
    """
    services = op.services
    with services.locks.hold("vm", vm_id, cancelled=op.cancelled):
        vm = current_vm(services, vm_id)
        open_handles(services, vm)  # raises before anything is changed where they cannot be read
        if is_down(services, vm):
            return vm
        told = vm.state is VmState.STOPPING
        vm = save_vm(services, vm, state=VmState.STOPPING)
    try:
        _ask_to_end(op, vm, timeout, told=told)
    except BaseException as error:
        state = _give_up_stop(services, vm_id)
        if isinstance(error, CancelledError):
            error.hint = f"'{vm.name}' is {state}"
        raise
    with services.locks.hold("vm", vm_id):
        vm = current_vm(services, vm_id)
        if vm.state is not VmState.STOPPING:
            return vm
        vm = finish_stop(services, vm)
    services.plugins.emit("vm_stopped", vm, log_event)
    return vm


def _ask_to_end(op: OperationContext, vm: Vm, timeout: float, *, told: bool) -> None:
    """Have a guest power off; return when it has, or when no more can be had of it.

    :param told: it was told before, and may be too busy with that to answer.
    """
    services = op.services
    handles = open_handles(services, vm)
    if running_process(services, vm, handles) is None:
        return
    _wake(services, vm)
    quiesce_steps(services.registries.all_steps(), handles, undo_factory(services, vm))
    op.progress("stop", "asking the guest to power off")
    reason = f"did not power off within {timeout:g} s" if timeout else "was not waited for"
    written = False
    try:
        if timeout > 0 and _ask_guest(op, vm) and _wait_ended(op, vm, timeout):
            return
        op.progress("stop", "writing out what the guest holds, then ending it")
        written = _ask_guest(op, vm, now=True) and _wait_ended(op, vm, _WRITE_TIMEOUT)
    except GuestError as error:
        log.warning("the guest of %s could not be asked to power off: %s", vm.name, error)
        if _wait_ended(op, vm, timeout if told else 0):
            return
        reason = "does not answer"
    rest = "its disks were written out" if written else "what it had not written to its disks is lost"
    op.event("notice", text=f"'{vm.name}' {reason} and was ended: {rest}")


def _give_up_stop(services: Services, vm_id: str) -> VmState:
    """Put a VM whose stop was cancelled, or failed, back to what it is; return that."""
    with services.locks.hold("vm", vm_id):
        vm = current_vm(services, vm_id)
        if vm.state is not VmState.STOPPING:
            return vm.state
        if running_process(services, vm, open_handles(services, vm)) is None:
            return finish_stop(services, vm).state
        return save_vm(services, vm, state=VmState.RUNNING).state


def kill_vm(op: OperationContext, vm_id: str) -> Vm:
    """End a VM's VMM at once and release what it held; a start under way is interrupted."""
    services = op.services
    interrupt_start(services, vm_id)
    with services.locks.hold("vm", vm_id, cancelled=op.cancelled):
        vm = current_vm(services, vm_id)
        if is_down(services, vm):
            return vm
        vm = finish_stop(services, vm)
    services.plugins.emit("vm_stopped", vm, log_event)
    return vm


def signal_vm(op: OperationContext, vm_id: str, name: str) -> None:
    """Send a VM's process a signal, and wait a moment for what it does.

    :param name: ``TERM``, ``QUIT``, …
    """
    services = op.services
    with services.locks.hold("vm", vm_id, cancelled=op.cancelled):
        vm = current_vm(services, vm_id)
        handles = open_handles(services, vm)
        pid = running_process(services, vm, handles)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, getattr(signal, f"SIG{name}"))
    deadline = time.monotonic() + _SIGNAL_SECONDS
    while time.monotonic() < deadline and running_process(services, vm, handles) is not None:
        op.check_cancelled()
        time.sleep(0.02)


def delete_vm(op: OperationContext, vm_id: str, *, force: bool = False, down: bool = False) -> Vm:
    """Take a VM away: its processes, its disks, its row.

    :param force: pass over what cannot be released. :param down: refuse one that is up, or about to be.
    """
    services = op.services
    if not down:
        interrupt_start(services, vm_id)
    with services.locks.hold("vm", vm_id, cancelled=op.cancelled):
        vm = current_vm(services, vm_id)
        if down and vm.state not in (VmState.STOPPED, VmState.CREATED, VmState.ERROR):
            raise ConflictError(f"'{vm.name}' is {vm.state}", hint=f"banger vm delete {vm.name}")
        handles = open_handles(services, vm, lenient=force)
        steps = services.registries.all_steps()
        gone = [section for section in handles.sections if section.step not in steps]
        if gone and not force:
            raise missing_step(gone[0], vm.name)
        was_up = vm.state in (VmState.RUNNING, VmState.STOPPING)
        drop_channel(services, vm_id)
        failures = undo_steps(steps, handles, undo_factory(services, vm))
        kept = vm
        if not failures or force:
            kept = _begin_delete(services, vm)
            failures += remove_steps(steps, handles, undo_factory(services, vm), made_by=None)
        if failures and not force:
            save_vm(services, kept, state=VmState.ERROR, last_error=str(failures[0]))
            raise ExceptionGroup(str(failures[0]), failures)
        if force:
            end_processes(services, vm)
        paths = vm_paths(services, vm)
        remove_tree(paths.sockets)
        remove_tree(paths.directory)
        services.database.delete_vm(vm.id)
    SshFiles(services.paths.state / "ssh").forget(f"{vm.name}.vm")
    if was_up:
        services.plugins.emit("vm_stopped", vm, log_event)
    services.plugins.emit("vm_deleted", vm, log_event)
    return vm


def _begin_delete(services: Services, vm: Vm) -> Vm:
    """Write down that a VM's disks may be gone from now on: one that is cut off here is not to start without them."""
    said = f"its deletion was cut off; banger vm delete {vm.name} ends it"
    return save_vm(services, vm, state=VmState.ERROR, deleting=True, last_error=said, running_spec=None)


def _wake(services: Services, vm: Vm) -> None:
    """Let a paused guest go on: one that is frozen cannot power off."""
    status, vmm = services.statuses.get(vm.id), services.registries.vmms.get(vm.spec.vmm)
    if status is not None and status.state == "paused" and vmm is not None and vmm.resume is not None:
        vmm.resume(vm_paths(services, vm).sockets)


def _ask_guest(op: OperationContext, vm: Vm, *, now: bool = False) -> bool:
    """Ask the guest to power off, through its init or, ``now``, through its kernel; tell whether it agreed.

    :raises GuestError: it does not answer.
    """
    services = op.services
    channel = vm_paths(services, vm).channel
    guest = LoopGuest(services.loop, services.guests, vm.id, channel, op.check_cancelled)
    patience = _ASK_TIMEOUT if services.guests.is_open(vm.id) else _FIRST_TIMEOUT
    deadline = time.monotonic() + patience
    while True:
        try:
            guest.request("poweroff", timeout=max(_ASK_PAUSE, deadline - time.monotonic()), now=now)
        except GuestRefusal as error:
            log.warning("the guest of %s does not power off: %s", vm.name, error)
            return False
        except GuestError:
            if time.monotonic() + _ASK_PAUSE > deadline or _wait_ended(op, vm, _ASK_PAUSE):
                raise
        else:
            return True


def _wait_ended(op: OperationContext, vm: Vm, timeout: float) -> bool:
    """Wait until the VM's process is gone, bounded; polling, because it need not be our child.

    True also when somebody else takes the VM down meanwhile.
    """
    services = op.services
    handles = open_handles(services, vm)
    deadline = time.monotonic() + timeout
    while running_process(services, vm, handles) is not None:
        if time.monotonic() >= deadline:
            return False
        op.check_cancelled()
        if (now := services.database.vm(vm.id)) is None or now.state is not VmState.STOPPING:
            return True
        time.sleep(0.02)
    return True
