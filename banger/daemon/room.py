"""Whether the host has room for what a VM is to have: memory now, disk once its disks are full."""

from __future__ import annotations

import shutil

from banger.config.sizes import available_memory_mib, host_memory_mib
from banger.daemon.services import Services
from banger.errors import HostError
from banger.host.storage import find_existing
from banger.model.size import format_mib
from banger.model.vm import VmState


def check_room(services: Services, name: str, memory_mib: int) -> None:
    """Raise HostError with the numbers unless the host can give a VM its memory now."""
    available = available_memory_mib()
    if memory_mib > available:
        running = [vm for vm in services.database.vms() if vm.state is VmState.RUNNING]
        promised = sum(vm.present_spec.memory_mib for vm in running)
        raise HostError(
            f"{name} wants {memory_mib} MiB of memory, and this host has {available} MiB left of "
            f"{host_memory_mib()} MiB; VMs that run may take {promised} MiB",
            hint="choose less with --memory, stop some (banger vm stats), or insist: --overcommit",
        )


def check_disk_room(services: Services, name: str, asked_mib: int) -> None:
    """Raise HostError with the numbers unless the host's disk has room for disks that somebody asked for, once full.

    Disks are sparse, and those that nobody gave a size take what they take.
    """
    free = shutil.disk_usage(find_existing(services.paths.vms)).free >> 20
    if asked_mib > free:
        raise HostError(
            f"{name} wants {format_mib(asked_mib)} of disk, and {format_mib(free)} are free at {services.paths.vms}",
            hint="choose less, free some (banger system df), or insist: --overcommit",
        )
