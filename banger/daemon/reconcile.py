"""Putting records and reality together when the daemon starts: adopt what lives, undo what died, leak nothing."""

from __future__ import annotations

import asyncio
import logging

from banger.daemon.address import after_run
from banger.daemon.background import in_thread
from banger.daemon.orphans import find_orphans, remove_orphan, unknown_vms
from banger.daemon.quiet import release_disks
from banger.daemon.services import Services
from banger.daemon.starts import open_handles, running_process
from banger.daemon.takedown import finish_stop, log_event, save_vm
from banger.daemon.watch import watch_vmm
from banger.host.command import kill_leftovers
from banger.model.vm import Vm, VmState

log = logging.getLogger(__name__)


async def reconcile(services: Services) -> None:
    """Look at every program, VM and directory; VMs side by side, and one that fails never stops the others."""
    if killed := await in_thread(services, kill_leftovers, services.paths.journal):
        log.info("ended %d programs that the last daemon left running", killed)
    vms = await in_thread(services, services.database.vms)
    done = await asyncio.gather(
        *(in_thread(services, _reconcile_vm, services, vm) for vm in vms), return_exceptions=True
    )
    for vm, outcome in zip(vms, done, strict=True):
        if isinstance(outcome, BaseException):
            log.error("%s could not be reconciled", vm.name, exc_info=outcome)
    await in_thread(services, _remove_orphans, services)


def _reconcile_vm(services: Services, vm: Vm) -> None:
    handles = open_handles(services, vm)
    alive = running_process(services, vm, handles) is not None
    if vm.state is VmState.RUNNING and alive:
        log.info("%s is running, adopted", vm.name)
        services.loop.call_soon_threadsafe(watch_vmm, services, vm.id)
        release_disks(services, vm, runs=True)
        return
    release_disks(services, vm, runs=False)
    cut_off = "the daemon ended while this VM was starting" if vm.state is VmState.STARTING else None
    if alive or any(section.live for section in handles.sections):
        log.info("%s was %s when the last daemon ended; taking it down", vm.name, vm.state)
        with services.locks.hold("vm", vm.id):
            vm = finish_stop(services, vm)
        services.plugins.emit("vm_stopped", vm, log_event)
    elif vm.state in (VmState.STOPPING, VmState.RUNNING):
        save_vm(services, vm, state=VmState.STOPPED, **after_run(vm))
    if cut_off is not None:
        save_vm(services, vm, state=VmState.ERROR, last_error=cut_off)


def _remove_orphans(services: Services) -> None:
    """Remove what no row owns: half-made pulls, sockets and processes of VMs that are gone."""
    for entry in unknown_vms(services):
        log.error("%s belongs to no VM the database knows; it is kept, and so are images and kernels", entry)
    for orphan in find_orphans(services, busy=False):
        remove_orphan(orphan)
