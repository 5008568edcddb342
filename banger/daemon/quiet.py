"""Quiet disks: a running VM's disks held still for a moment, so that they can be copied whole."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from banger.daemon.context import OperationContext
from banger.daemon.guests import LoopGuest
from banger.daemon.services import Services
from banger.daemon.starts import vm_paths
from banger.daemon.takedown import current_vm, is_down
from banger.errors import BangerError, ConflictError, UsageError
from banger.model.vm import Vm, VmState

log = logging.getLogger(__name__)

#: Seconds after which a guest thaws by itself, should nobody tell it; and what it gets to freeze in.
_THAW_SECONDS, _ASK_SECONDS = 60, 30.0
#: What it gets to answer in while a daemon starts, which others wait for.
_RELEASE_SECONDS = 5.0
#: In the directory of a VM whose processors are stopped here; a daemon that is killed meanwhile leaves it.
_HELD = "held"


@contextmanager
def quiet_disks(op: OperationContext, vm: Vm) -> Iterator[Path]:
    """Hold a VM's disks still and give the directory they are in; nobody starts, stops or deletes it meanwhile.

    A running guest writes out what it holds and freezes its file systems, then its processors are stopped: all that it
    knows is on its disks, and the VMM's own caches are as well. Both go on when the block ends, however it does.

    :raises ConflictError: the VM is neither down nor simply running, or was restarted meanwhile.
    :raises GuestError: the guest does not freeze its file systems.
    """
    services = op.services
    vm = current_vm(services, vm.id)
    paths = vm_paths(services, vm)
    with contextlib.ExitStack() as thaw:
        if vm.state is VmState.RUNNING:
            _freeze_guest(op, vm, paths.channel, thaw)
        with services.locks.hold("vm", vm.id, cancelled=op.cancelled), contextlib.ExitStack() as resume:
            now = current_vm(services, vm.id)
            if vm.state is VmState.RUNNING:
                _stop_processors(op, vm, now, paths.sockets, resume)
            elif not is_down(services, now):
                hint = f"wait, or: banger vm stop {now.name}"
                raise ConflictError(f"'{now.name}' is {now.state}: its disks change", hint=hint)
            yield paths.directory


def _freeze_guest(op: OperationContext, vm: Vm, channel: Path, after: contextlib.ExitStack) -> None:
    status = op.services.statuses.get(vm.id)
    if status is not None and not status.runs:
        raise ConflictError(
            f"'{vm.name}' is {status.words}: it cannot write out what it holds",
            hint=f"{status.remedy} {vm.name}",
        )
    guest = LoopGuest(op.services.loop, op.services.guests, vm.id, channel)
    op.progress("freezing", f"{vm.name} writes out what it holds")
    after.callback(_attempt, f"{vm.name} could not be told to go on", lambda: _thaw(guest))
    guest.request("freeze", timeout=_ASK_SECONDS, timeout_s=_THAW_SECONDS)


def _thaw(guest: LoopGuest, seconds: float = _ASK_SECONDS) -> None:
    guest.request("thaw", timeout=seconds)
    guest.request("clock", timeout=seconds, clock_ns=time.time_ns())


def _stop_processors(
    op: OperationContext, vm: Vm, now: Vm, sockets: Path, after: contextlib.ExitStack
) -> None:
    if now.state is not VmState.RUNNING or now.started_at != vm.started_at:
        raise ConflictError(f"'{vm.name}' was stopped or restarted meanwhile", hint="try again")
    vmm = op.services.registries.vmms.resolve(vm.spec.vmm)
    if vmm.pause is None or vmm.resume is None:
        raise UsageError(f"{vmm.name} cannot pause VMs", hint=f"banger vm stop {vm.name}, then try again")
    resume, mark = vmm.resume, vm_paths(op.services, vm).directory / _HELD
    after.callback(mark.unlink, missing_ok=True)
    after.callback(_attempt, f"{vm.name} could not be resumed", lambda: resume(sockets))
    mark.touch()
    vmm.pause(sockets)


def release_disks(services: Services, vm: Vm, *, runs: bool) -> None:
    """Let a VM go on whose disks a daemon held still that is no more; nothing happens to others."""
    paths = vm_paths(services, vm)
    mark, vmm = paths.directory / _HELD, services.registries.vmms.get(vm.spec.vmm)
    if runs and mark.exists() and vmm is not None and vmm.resume is not None:
        log.info("%s was held still when the last daemon ended; it goes on", vm.name)
        vmm.resume(paths.sockets)
        guest = LoopGuest(services.loop, services.guests, vm.id, paths.channel)
        _attempt(f"{vm.name} could not be told to go on", lambda: _thaw(guest, _RELEASE_SECONDS))
    mark.unlink(missing_ok=True)


def _attempt(complaint: str, work: Callable[[], None]) -> None:
    """Take something back; what fails is logged, the rest goes on."""
    try:
        work()
    except BangerError as error:
        log.error("%s: %s", complaint, error)
