"""Putting records and reality together when the daemon starts: adopt what lives, undo what died, leak nothing."""

from __future__ import annotations

import logging

from banger.daemon.lifecycle import finish_stop, watch_vmm
from banger.daemon.pulls import content_dir, remove_tree
from banger.daemon.services import Services
from banger.daemon.starts import open_handles, running_process
from banger.host.command import kill_leftovers
from banger.model.vm import Vm, VmState

log = logging.getLogger(__name__)


def reconcile(services: Services) -> None:
    """Look at every program, VM and directory; one that fails never stops the others."""
    if killed := kill_leftovers(services.paths.journal):
        log.info("ended %d programs that the last daemon left running", killed)
    for vm in services.database.vms():
        try:
            _reconcile_vm(services, vm)
        except Exception:
            log.exception("%s could not be reconciled", vm.name)
    _remove_orphans(services)


def _reconcile_vm(services: Services, vm: Vm) -> None:
    handles = open_handles(services, vm)
    alive = running_process(services, vm, handles) is not None
    if vm.state is VmState.RUNNING and alive:
        log.info("%s is running, adopted", vm.name)
        services.loop.call_soon_threadsafe(watch_vmm, services, vm.id)
        return
    if not alive and not any(section.live for section in handles.sections):
        if vm.state in (VmState.STARTING, VmState.STOPPING, VmState.RUNNING):
            services.database.update_vm(vm.model_copy(update={"state": VmState.STOPPED}))
        return
    log.info("%s was %s when the last daemon ended; taking it down", vm.name, vm.state)
    with services.locks.hold("vm", vm.id):
        interrupted = vm.state is VmState.STARTING
        stopped = finish_stop(services, vm)
        if interrupted:
            reason = "the daemon ended while this VM was starting"
            services.database.update_vm(
                stopped.model_copy(update={"state": VmState.ERROR, "last_error": reason})
            )


def _remove_orphans(services: Services) -> None:
    """Remove directories of ours that no row owns: half-made pulls, VMs whose delete was cut off."""
    paths, database = services.paths, services.database
    vms = database.vms()
    owned = {paths.vms / vm.id for vm in vms} | {paths.sockets / vm.id[:8] for vm in vms}
    owned |= {paths.daemon_socket, paths.stream_socket}
    owned |= {content_dir(paths.images, image.digest) for image in database.images()}
    owned |= {content_dir(paths.kernels, kernel.digest) for kernel in database.kernels()}
    for base in (paths.vms, paths.sockets, paths.images, paths.kernels, paths.staging):
        for entry in base.iterdir():
            if entry in owned:
                continue
            log.info("removing %s, which nothing refers to", entry)
            if entry.is_dir() and not entry.is_symlink():
                remove_tree(entry)
            else:
                entry.unlink(missing_ok=True)
