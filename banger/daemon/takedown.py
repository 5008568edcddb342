"""Taking a VM down and writing down what became of it: shared by stop, kill, delete, reconcile and the watch."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from banger.daemon.address import after_run
from banger.daemon.services import Services
from banger.daemon.starts import open_handles, undo_factory
from banger.errors import NotFoundError
from banger.model.vm import Vm, VmState
from banger.start.run import undo_steps

log = logging.getLogger(__name__)


def finish_stop(services: Services, vm: Vm) -> Vm:
    """Release everything a VM holds and note it as stopped; the caller holds its lock and emits the event after it."""
    failures = take_down(services, vm)
    if failures:
        vm = save_vm(services, vm, state=VmState.ERROR, last_error=str(failures[0]), **after_run(vm))
        raise ExceptionGroup(f"'{vm.name}' is down, but not all it held could be released", failures)
    return save_vm(services, vm, state=VmState.STOPPED, last_error=None, **after_run(vm))


def take_down(services: Services, vm: Vm) -> list[Exception]:
    """Run every undo of a VM; return what failed."""
    drop_channel(services, vm.id)
    return undo_steps(services.registries.all_steps(), open_handles(services, vm), undo_factory(services, vm))


def holds_anything(services: Services, vm: Vm) -> bool:
    """Tell whether something of a VM may still be acquired."""
    return any(section.live for section in open_handles(services, vm).sections)


def drop_channel(services: Services, vm_id: str) -> None:
    """Close the channel to a VM's agent, if there is one."""
    asyncio.run_coroutine_threadsafe(services.guests.drop(vm_id), services.loop).result(10)


def current_vm(services: Services, vm_id: str) -> Vm:
    """Return a VM's row as it is now; NotFoundError when it was deleted meanwhile."""
    vm = services.database.vm(vm_id)
    if vm is None:
        raise NotFoundError("the VM was deleted meanwhile", hint="see: banger vm list")
    return vm


def save_vm(services: Services, vm: Vm, **changes: Any) -> Vm:
    """Write changes to a VM's row and return it."""
    vm = vm.model_copy(update=changes)
    services.database.update_vm(vm)
    return vm


def log_event(plugin: str, error: BaseException) -> None:
    """Log an event hook that failed."""
    log.error("an event hook of plugin %s failed", plugin, exc_info=error)


def is_down(services: Services, vm: Vm) -> bool:
    """Tell whether there is nothing to stop: the VM is down and holds nothing."""
    return vm.state in (VmState.STOPPED, VmState.CREATED, VmState.ERROR) and not holds_anything(services, vm)


def interrupt_start(services: Services, vm_id: str) -> None:
    """End a start that is under way, so that whoever takes the VM down does not wait for its guest."""
    interrupt = services.starting.get(vm_id)
    if interrupt is not None:
        interrupt.set()
