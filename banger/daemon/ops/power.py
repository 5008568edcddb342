"""Operations on a VM's power: restart, kill, pause, resume, and waiting for it."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from pydantic import BaseModel, Field

from banger.daemon.context import OperationContext
from banger.daemon.guests import LoopGuest
from banger.daemon.lifecycle import STOP_TIMEOUT, kill_vm, resolve_vm, signal_vm, start_vm, stop_vm
from banger.daemon.ops.detail import VmDetail, VmParams, check_runs, detail
from banger.daemon.ops.ssh_login import log_in
from banger.daemon.ops.vm import wait_system
from banger.daemon.starts import vm_paths
from banger.daemon.takedown import current_vm, save_vm
from banger.errors import BangerError, ConflictError, UsageError
from banger.model.command import Operation
from banger.model.vm import Vm, VmState
from banger.model.vmm import Vmm

Signal = Literal["TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "ABRT"]

#: Seconds between two looks at what is waited for.
_LOOK_SECONDS = 0.1
#: Seconds that one question to a guest may take while it is waited for.
_ASK_SECONDS = 5.0


class VmRestartParams(VmParams):
    """``timeout``: seconds the guest gets to power off by itself; ``wait``: as for create."""

    timeout: float = Field(default=STOP_TIMEOUT, ge=0, le=3600)
    wait: Literal["agent", "system"] = "system"


class VmKillParams(VmParams):
    """``signal``: sent to the VM's process; the VM is ended for good whatever it does."""

    signal: Signal = "KILL"


class VmWaitParams(VmParams):
    """``until``: what is waited for, at most ``timeout`` seconds."""

    until: Literal["agent", "system", "ssh", "running", "stopped"] = "system"
    timeout: float = Field(default=120.0, ge=0, le=24 * 3600)


def restart(op: OperationContext, params: VmRestartParams) -> VmDetail:
    """Stop a VM through its init and start it again; one that is down is just started."""
    vm = resolve_vm(op.services, params.vm)
    op.services.check_configured()
    stop_vm(op, vm.id, timeout=params.timeout)
    op.check_cancelled()
    return detail(op, wait_system(op, start_vm(op, vm.id), params.wait))


def kill(op: OperationContext, params: VmKillParams) -> VmDetail:
    """End a VM at once; a signal other than KILL is sent first and given a moment."""
    vm = resolve_vm(op.services, params.vm)
    if params.signal != "KILL":
        signal_vm(op, vm.id, params.signal)
    return detail(op, kill_vm(op, vm.id))


def pause(op: OperationContext, params: VmParams) -> VmDetail:
    """Freeze a VM: it keeps its memory and uses no processor."""
    return _freeze(op, params, pausing=True)


def resume(op: OperationContext, params: VmParams) -> VmDetail:
    """Let a frozen VM go on, and tell its guest what time it is."""
    return _freeze(op, params, pausing=False)


def _freeze(op: OperationContext, params: VmParams, *, pausing: bool) -> VmDetail:
    services = op.services
    vm = resolve_vm(services, params.vm)
    with services.locks.hold("vm", vm.id, cancelled=op.cancelled):
        vm = current_vm(services, vm.id)
        if vm.state is not VmState.RUNNING:
            raise ConflictError(f"'{vm.name}' is {vm.state}, not running", hint=f"banger vm start {vm.name}")
        vmm: Vmm = services.registries.vmms.resolve(vm.spec.vmm)
        function = vmm.pause if pausing else vmm.resume
        if function is None:
            raise UsageError(
                f"{vmm.name} cannot {'pause' if pausing else 'resume'} VMs", hint="banger vm stop"
            )
        sockets = vm_paths(services, vm).sockets
        function(sockets)
        if vmm.status is not None:
            services.statuses[vm.id] = vmm.status(sockets)
    if not pausing:
        _set_clock(op, vm)
    found = detail(op, vm)
    status = services.statuses.get(vm.id)
    return found.model_copy(update={"status": status.words if status else None})


def _set_clock(op: OperationContext, vm: Vm) -> None:
    services = op.services
    guest = LoopGuest(services.loop, services.guests, vm.id, vm_paths(services, vm).channel)
    try:
        guest.request("clock", timeout=_ASK_SECONDS, clock_ns=time.time_ns())
    except BangerError as error:
        op.event("notice", text=f"the guest's clock could not be set: {error.message}")


async def wait(op: OperationContext, params: VmWaitParams) -> VmDetail:
    """Wait until a VM is as asked for; GuestError or ConflictError when it cannot become so."""
    services = op.services
    vm = resolve_vm(services, params.vm)
    op.progress("wait", f"waiting for {vm.name}: {params.until}")
    deadline = time.monotonic() + params.timeout
    while not await _is(op, vm, params.until, deadline):
        if time.monotonic() >= deadline:
            raise ConflictError(
                f"waited {params.timeout:g} s for '{vm.name}' ({params.until}); it is {vm.state}",
                hint=f"banger vm logs {vm.name}, or a longer --timeout",
            )
        op.check_cancelled()
        await asyncio.sleep(_LOOK_SECONDS)
        vm = current_vm(services, vm.id)
    return detail(op, vm)


async def _is(op: OperationContext, vm: Vm, until: str, deadline: float) -> bool:
    down = vm.state in (VmState.STOPPED, VmState.CREATED, VmState.ERROR)
    if until == "stopped":
        return down
    if down:
        raise ConflictError(f"'{vm.name}' is {vm.state}, not running", hint=f"banger vm start {vm.name}")
    if vm.state is not VmState.RUNNING:
        return False
    if until == "running":
        return True
    check_runs(op.services, vm)
    channel, seconds = (
        vm_paths(op.services, vm).channel,
        max(1.0, min(_ASK_SECONDS, deadline - time.monotonic())),
    )
    try:
        if until == "ssh":
            return bool(await log_in(op.services, vm, seconds))
        if until == "agent":
            answer = await op.services.guests.request(vm.id, channel, "health", timeout=seconds)
            return answer.get("state") == "ready"
        answer = await op.services.guests.request(
            vm.id, channel, "wait-system", timeout=seconds + 10, timeout_s=max(1, int(seconds))
        )
    except BangerError:
        return False
    return answer.get("state") in ("running", "degraded", "unmanaged")


class Touched(BaseModel):
    """When a VM was last said to be in use."""

    vm: str
    touched_at: str


def touch(op: OperationContext, params: VmParams) -> Touched:
    """Say that a VM is in use."""
    from datetime import UTC, datetime

    vm = resolve_vm(op.services, params.vm)
    now = datetime.now(UTC)
    with op.services.locks.hold("vm", vm.id, cancelled=op.cancelled):
        save_vm(op.services, current_vm(op.services, vm.id), touched_at=now)
    return Touched(vm=vm.name, touched_at=now.isoformat())


OPERATIONS = [
    Operation("vm.restart", "stop a VM and start it again", VmRestartParams, VmDetail, restart),
    Operation("vm.kill", "end a VM at once", VmKillParams, VmDetail, kill),
    Operation("vm.pause", "freeze a VM", VmParams, VmDetail, pause),
    Operation("vm.resume", "let a frozen VM go on", VmParams, VmDetail, resume),
    Operation("vm.wait", "wait until a VM is as asked for", VmWaitParams, VmDetail, wait),
    Operation("vm.touch", "say that a VM is in use", VmParams, Touched, touch),
]
