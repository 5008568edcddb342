"""A VM's first start when it is to be provisioned: its distribution's package manager installs an init and sshd.

The agent is the init meanwhile. Afterwards the VM is stopped, and its next start is that of the init that is there now.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from dataclasses import dataclass

from banger.daemon.context import OperationContext
from banger.daemon.lifecycle import start_once, stop_vm
from banger.daemon.starts import vm_paths
from banger.daemon.takedown import current_vm, finish_stop, save_vm
from banger.errors import GuestError
from banger.guest import wire
from banger.guest.wire import clean_text
from banger.host.caller import find_proxies
from banger.model.provision import MANAGERS, OS_RELEASE_LIMIT, find_manager
from banger.model.vm import Vm, VmState

#: Seconds that packages get to be installed: under software emulation minutes.
_TIMEOUT = 1800.0
#: Bytes that are kept of the end of what the installation prints.
_TAIL = 4000
_READ_OS_RELEASE = "cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release"


def provision_vm(op: OperationContext, vm: Vm, *, first: bool) -> None:
    """Start a VM, install what it lacks, and stop it; one that fails is left in state error, and tries again.

    :raises GuestError: the distribution is not known, or its package manager failed.
    """
    services = op.services
    start_once(op, vm.id, first=first)
    try:
        _install(op, vm)
    except BaseException as error:
        with services.locks.hold("vm", vm.id):
            ended = finish_stop(services, current_vm(services, vm.id))
            state = VmState.ERROR if isinstance(error, Exception) else VmState.STOPPED
            save_vm(services, ended, state=state, last_error=str(error) or type(error).__name__)
        raise
    op.progress("provision", "starting again, with its own init")
    stop_vm(op, vm.id)
    with services.locks.hold("vm", vm.id, cancelled=op.cancelled):
        save_vm(services, current_vm(services, vm.id), provisioned=True)


def _install(op: OperationContext, vm: Vm) -> None:
    op.progress("provision", "looking for a package manager")
    described = _run(op, vm, _READ_OS_RELEASE, OS_RELEASE_LIMIT)
    manager = find_manager(described.output) if described.status == 0 else None
    if manager is None:
        known = ", ".join(manager.name for manager in MANAGERS)
        raise GuestError(
            f"the os-release of '{vm.image_name}' names no distribution with a package manager that is known: {known}",
            hint="--init agent needs neither an init nor packages",
        )
    op.progress("provision", f"{manager.name} installs an init and sshd")
    done = _run(op, vm, f"set -eu\n{manager.script}", _TAIL, report=True)
    if done.status != 0:
        raise GuestError(
            f"{manager.name} failed in the guest with status {done.status}: {clean_text(done.last, 300)}",
            hint="the guest needs a way to its distribution's packages; --init agent needs none",
        )


@dataclass(slots=True)
class _Ran:
    """How a script ended, and the end of what it printed."""

    status: int = -1
    output: str = ""

    @property
    def last(self) -> str:
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else "it printed nothing"


def _run(op: OperationContext, vm: Vm, script: str, limit: int, *, report: bool = False) -> _Ran:
    """Run a script in the guest as root, bounded; cancelled with the operation."""
    services, ran = op.services, _Ran()
    future = asyncio.run_coroutine_threadsafe(
        _follow(op, vm, script, limit, find_proxies(), ran), services.loop
    )
    deadline = time.monotonic() + _TIMEOUT
    said = ""
    try:
        while True:
            try:
                future.result(0.2)
                return ran
            except concurrent.futures.TimeoutError:
                if future.done():
                    raise
            op.check_cancelled()
            if time.monotonic() > deadline:
                raise GuestError(f"the packages were not installed within {_TIMEOUT:.0f} s")
            if report and ran.last != said:
                said = ran.last
                op.progress("provision", clean_text(said, 100))
    finally:
        future.cancel()


async def _follow(
    op: OperationContext, vm: Vm, script: str, limit: int, proxies: dict[str, str], ran: _Ran
) -> None:
    services = op.services
    stream = await services.guests.open(
        vm.id,
        vm_paths(services, vm).channel,
        "exec",
        argv=["/bin/sh", "-c", f"exec 2>&1 </dev/null\n{script}"],
        env={"LC_ALL": "C", **proxies},
        tty=False,
        user="root",
        cwd="/",
    )
    kept = bytearray()
    try:
        while True:
            frame = await stream.read_frame()
            if frame.type == wire.DATA:
                kept += frame.payload
                del kept[: max(0, len(kept) - limit)]
                ran.output = kept.decode(errors="replace")
                await stream.grant(frame)
            elif frame.type == wire.EXIT:
                code = frame.json().get("code")
                ran.status = code if isinstance(code, int) else -1
                return
            elif frame.type in wire.FINAL:
                raise GuestError("the guest agent could not run the installation")
    finally:
        await stream.close()
