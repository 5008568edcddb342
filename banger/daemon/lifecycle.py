"""The life of a VM: create, start, stop, kill, delete. Blocking functions for worker threads."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from banger.daemon.choices import Choice
from banger.daemon.context import OperationContext
from banger.daemon.guests import LoopGuest
from banger.daemon.pulls import remove_tree
from banger.daemon.services import Services
from banger.daemon.starts import (
    Start,
    explain_silence,
    last_words,
    open_handles,
    running_process,
    undo_factory,
    vm_paths,
)
from banger.errors import BangerError, CancelledError, ConflictError, GuestError, NotFoundError
from banger.model.name import make_vm_name, unknown_hint
from banger.model.vm import Vm, VmState
from banger.start.run import missing_step, quiesce_steps, remove_steps, undo_steps

log = logging.getLogger(__name__)

#: Seconds a VMM gets to end by itself once its guest was told to power off, unless the caller says otherwise.
STOP_TIMEOUT = 30.0


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
            image=choice.image.digest,
            kernel=choice.kernel.digest,
            image_name=choice.image.name,
            kernel_name=choice.kernel.name,
            created_at=datetime.now(UTC),
        )
        assign = services.registries.networks.resolve(vm.spec.network).assign
        if assign is not None:
            taken = frozenset(other.address for other in others if other.address)
            vm = vm.model_copy(update={"address": assign(vm, taken)})
        services.database.add_vm(vm)
    services.plugins.emit("vm_created", vm, _log_event)
    return vm


def _new_id(others: list[Vm]) -> str:
    """Return an id whose first 8 digits are free: the sockets' directory is named by them."""
    taken = {other.id[:8] for other in others}
    return next(number for number in iter(lambda: uuid.uuid4().hex, "") if number[:8] not in taken)


def start_vm(op: OperationContext, vm_id: str, *, first: bool = False) -> Vm:
    """Start a VM under its lock; on failure it is left in state error with nothing held."""
    services = op.services
    with services.locks.hold("vm", vm_id, cancelled=op.cancelled):
        vm = _current(services, vm_id)
        if vm.state is VmState.RUNNING:
            raise ConflictError(f"'{vm.name}' is running", hint=f"banger vm exec {vm.name} -- COMMAND")
        handles = open_handles(services, vm)
        if any(section.live for section in handles.sections):
            _take_down(services, vm)
        vm = _save(services, vm, state=VmState.STARTING, last_error=None)
        began = time.monotonic()
        try:
            timings = Start(op, vm, first=first).run()
        except BaseException as error:
            raise _failed_start(op, vm, error) from error
        timings["total"] = round(time.monotonic() - began, 4)
        vm = _save(services, vm, state=VmState.RUNNING, started_at=datetime.now(UTC), timings=timings)
        services.loop.call_soon_threadsafe(watch_vmm, services, vm_id)
    services.plugins.emit("vm_started", vm, _log_event)
    return vm


def _failed_start(op: OperationContext, vm: Vm, error: BaseException) -> BaseException:
    services = op.services
    _drop_channel(services, vm.id)
    original = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    if isinstance(original, GuestError) and original.step == "guest":
        section = open_handles(services, vm).find("boot")
        accelerator = (
            str(section.data.get("accelerator", "unknown")) if section else _accelerator_of(services, vm)
        )
        original = explain_silence(original, vm, accelerator)
    message = str(original) or type(original).__name__
    state = VmState.STOPPED if isinstance(original, CancelledError) else VmState.ERROR
    _save(services, vm, state=state, last_error=message)
    services.plugins.emit("vm_start_failed", vm, _log_event, error=message)
    return error if isinstance(error, ExceptionGroup) else original


def _accelerator_of(services: Services, vm: Vm) -> str:
    return services.registries.vmms[vm.spec.vmm].probe(services.commands, vm.spec.accel).accelerator


def stop_vm(op: OperationContext, vm_id: str, *, timeout: float = STOP_TIMEOUT) -> Vm:
    """Power a VM off through its init, at most ``timeout`` seconds, then end its VMM and release what it held."""
    services = op.services
    with services.locks.hold("vm", vm_id, cancelled=op.cancelled):
        vm = _current(services, vm_id)
        if vm.state in (VmState.STOPPED, VmState.CREATED) and not _holds(services, vm):
            return vm
        vm = _save(services, vm, state=VmState.STOPPING)
        handles = open_handles(services, vm)
        if running_process(services, vm, handles) is not None:
            quiesce_steps(services.registries.all_steps(), handles, undo_factory(services, vm))
            op.progress("stop", "asking the guest to power off")
            if _power_off(services, vm):
                _wait_ended(op, vm, timeout)
        return finish_stop(services, vm)


def kill_vm(op: OperationContext, vm_id: str) -> Vm:
    """End a VM's VMM at once and release what it held."""
    services = op.services
    with services.locks.hold("vm", vm_id, cancelled=op.cancelled):
        return finish_stop(services, _current(services, vm_id))


def finish_stop(services: Services, vm: Vm) -> Vm:
    """Release everything a VM holds and note it as stopped; its lock is held by the caller."""
    failures = _take_down(services, vm)
    if failures:
        vm = _save(services, vm, state=VmState.ERROR, last_error=str(failures[0]))
        raise ExceptionGroup(f"'{vm.name}' is down, but not all it held could be released", failures)
    vm = _save(services, vm, state=VmState.STOPPED, last_error=None)
    services.plugins.emit("vm_stopped", vm, _log_event)
    return vm


def delete_vm(op: OperationContext, vm_id: str, *, force: bool = False) -> Vm:
    """Take a VM away: its processes, its disks, its row. ``force`` passes over what cannot be released."""
    services = op.services
    with services.locks.hold("vm", vm_id, cancelled=op.cancelled):
        vm = _current(services, vm_id)
        handles = open_handles(services, vm)
        steps = services.registries.all_steps()
        gone = [section for section in handles.sections if section.step not in steps]
        if gone and not force:
            raise missing_step(gone[0])
        failures = _take_down(services, vm)
        failures += remove_steps(steps, open_handles(services, vm), undo_factory(services, vm), made_by=None)
        if failures and not force:
            _save(services, vm, state=VmState.ERROR, last_error=str(failures[0]))
            raise ExceptionGroup(str(failures[0]), failures)
        paths = vm_paths(services, vm)
        remove_tree(paths.sockets)
        remove_tree(paths.directory)
        services.database.delete_vm(vm.id)
    services.plugins.emit("vm_deleted", vm, _log_event)
    return vm


def _take_down(services: Services, vm: Vm) -> list[Exception]:
    _drop_channel(services, vm.id)
    return undo_steps(services.registries.all_steps(), open_handles(services, vm), undo_factory(services, vm))


def _holds(services: Services, vm: Vm) -> bool:
    return any(section.live for section in open_handles(services, vm).sections)


def _power_off(services: Services, vm: Vm) -> bool:
    guest = LoopGuest(services.loop, services.guests, vm.id, vm_paths(services, vm).channel)
    try:
        guest.request("poweroff", timeout=5)
    except BangerError as error:
        log.warning("the guest of %s could not be asked to power off: %s", vm.name, error)
        return False
    return True


def _wait_ended(op: OperationContext, vm: Vm, timeout: float) -> None:
    """Wait until the VM's process is gone, bounded; polling, because it need not be our child."""
    handles = open_handles(op.services, vm)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and running_process(op.services, vm, handles) is not None:
        time.sleep(0.02)


def _drop_channel(services: Services, vm_id: str) -> None:
    asyncio.run_coroutine_threadsafe(services.guests.drop(vm_id), services.loop).result(10)


def _current(services: Services, vm_id: str) -> Vm:
    vm = services.database.vm(vm_id)
    if vm is None:
        raise NotFoundError("the VM was deleted meanwhile", hint="see: banger vm list")
    return vm


def _save(services: Services, vm: Vm, **changes: Any) -> Vm:
    vm = vm.model_copy(update=changes)
    services.database.update_vm(vm)
    return vm


def _log_event(plugin: str, error: BaseException) -> None:
    log.error("an event hook of plugin %s failed", plugin, exc_info=error)


def watch_vmm(services: Services, vm_id: str) -> None:
    """Notice when a VM's process ends by itself; on the loop."""
    import os

    vm = services.database.vm(vm_id)
    pid = running_process(services, vm, open_handles(services, vm)) if vm is not None else None
    if pid is None:
        services.loop.run_in_executor(services.pool, note_ended, services, vm_id)
        return
    pidfd = os.pidfd_open(pid)

    def ended() -> None:
        services.loop.remove_reader(pidfd)
        os.close(pidfd)
        services.loop.run_in_executor(services.pool, note_ended, services, vm_id)

    services.loop.add_reader(pidfd, ended)


def note_ended(services: Services, vm_id: str) -> None:
    """Release what a VM held whose process ended by itself; does nothing when somebody stopped it meanwhile."""
    with services.locks.hold("vm", vm_id):
        vm = services.database.vm(vm_id)
        if vm is None or vm.state is not VmState.RUNNING:
            return
        if running_process(services, vm, open_handles(services, vm)) is not None:
            return
        log.info("%s ended by itself: %s", vm.name, last_words(vm_paths(services, vm).console))
        try:
            finish_stop(services, vm)
        except ExceptionGroup:
            log.exception("%s could not be taken down", vm.name)
