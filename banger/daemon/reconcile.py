"""Putting records and reality together when the daemon starts: adopt what lives, undo what died, leak nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from banger.daemon.background import in_thread
from banger.daemon.publish import content_dir
from banger.daemon.quiet import release_disks
from banger.daemon.services import Services
from banger.daemon.starts import open_handles, running_process
from banger.daemon.takedown import finish_stop, log_event, save_vm
from banger.daemon.watch import watch_vmm
from banger.host.command import kill_leftovers
from banger.host.folder import remove_tree
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
        save_vm(services, vm, state=VmState.STOPPED, running_spec=None)
    if cut_off is not None:
        save_vm(services, vm, state=VmState.ERROR, last_error=cut_off)


def _remove_orphans(services: Services) -> None:
    """Remove what no row owns: half-made pulls, sockets of VMs that are gone.

    A VM's directory goes before its row, so one without a row means that the database was lost or damaged. Then
    everything is kept: that VM's process, its image, its kernel may be there as well.
    """
    paths, database = services.paths, services.database
    vms = database.vms()
    unknown = [entry for entry in paths.vms.iterdir() if entry.name not in {vm.id for vm in vms}]
    for entry in unknown:
        log.error("%s belongs to no VM the database knows; it is kept, and so are images and kernels", entry)
    if unknown or database.has_damage():
        return
    owned = {paths.sockets / vm.id[:8] for vm in vms} | {paths.daemon_socket, paths.stream_socket}
    owned |= {content_dir(paths.images, image.digest) for image in database.images()}
    owned |= {content_dir(paths.kernels, kernel.digest) for kernel in database.kernels()}
    for base in (paths.sockets, paths.images, paths.kernels, paths.staging):
        for entry in base.iterdir():
            if entry not in owned:
                _remove_orphan(entry)


def _remove_orphan(entry: Path) -> None:
    log.info("removing %s, which nothing refers to", entry)
    try:
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(entry)
        else:
            entry.unlink(missing_ok=True)
    except OSError as error:
        log.error("%s could not be removed: %s", entry, error)
