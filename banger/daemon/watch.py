"""Noticing that a VM's process ended by itself: powered off from inside, crashed or killed."""

from __future__ import annotations

import asyncio
import logging
import os

from banger.daemon.background import run_in_background
from banger.daemon.services import Services
from banger.daemon.starts import open_handles, running_process, vm_paths
from banger.daemon.takedown import finish_stop, log_event
from banger.errors import BangerError
from banger.model.vm import Vm, VmState
from banger.model.vmm import VmmStatus
from banger.start.console import last_words

log = logging.getLogger(__name__)


def watch_vmm(services: Services, vm_id: str) -> None:
    """Wait for the end of a running VM's process, without polling; on the loop."""
    try:
        vm = services.database.vm(vm_id)
        pid = running_process(services, vm, open_handles(services, vm)) if vm is not None else None
        pidfd = os.pidfd_open(pid) if pid is not None else None
    except ProcessLookupError:
        pidfd = None
    except BangerError as error:
        log.error("VM %s is not watched: %s", vm_id, error)
        return
    if pidfd is None:
        run_in_background(services, note_ended, services, vm_id)
        return

    assert vm is not None
    watching = asyncio.ensure_future(_watch_status(services, vm))

    def ended() -> None:
        services.loop.remove_reader(pidfd)
        os.close(pidfd)
        watching.cancel()
        run_in_background(services, note_ended, services, vm_id)

    services.loop.add_reader(pidfd, ended)


async def _watch_status(services: Services, vm: Vm) -> None:
    """Keep what the VM's VMM says of it, where that says so by itself."""
    vmm = services.registries.vmms.get(vm.spec.vmm)
    if vmm is None or vmm.watch is None:
        return

    def report(status: VmmStatus) -> None:
        if services.statuses.get(vm.id, VmmStatus("running")) != status:
            log.info("%s is %s", vm.name, status.words)
        services.statuses[vm.id] = status

    try:
        await vmm.watch(vm_paths(services, vm).sockets, report)
    except Exception as error:
        log.warning("what the VMM of %s does is not seen: %s", vm.name, error)
    finally:
        services.statuses.pop(vm.id, None)


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
            vm = finish_stop(services, vm)
        except ExceptionGroup:
            log.exception("%s could not be taken down", vm.name)
            return
    services.plugins.emit("vm_stopped", vm, log_event)
