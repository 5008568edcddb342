"""Consoles are written by guests, who are hostile: their files are kept short, or one guest could fill the disk."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from banger.daemon.services import Services
from banger.model.vm import VmState
from banger.start.console_times import note_size, shift_sizes

log = logging.getLogger(__name__)

#: Bytes a console may have, and what is kept of it when it has more.
LIMIT, KEEP = 16 * 1024 * 1024, 1024 * 1024
#: Seconds between two looks, while VMs are up and while none is.
INTERVAL, IDLE_INTERVAL = 5.0, 20.0
#: What stands in the place of what was cut.
_CUT = b"[earlier output was cut]\n"
#: When a guest may be writing: also before it ever answered, and while it is told to end.
_WRITING = (VmState.STARTING, VmState.RUNNING, VmState.STOPPING)


async def bound_consoles(services: Services) -> None:
    """Cut the consoles of VMs that are up now and then, while the daemon lives, whatever goes wrong meanwhile."""
    interval = INTERVAL
    while True:
        await asyncio.sleep(interval)
        try:
            up = await services.loop.run_in_executor(services.pool, _bound_all, services)
        except Exception:
            log.exception("the consoles could not be looked at")
            up = True
        interval = INTERVAL if up else IDLE_INTERVAL


def _bound_all(services: Services) -> bool:
    """Cut the consoles of VMs that are up, and note how long they are; tell whether there are any."""
    up = [vm for vm in services.database.vms() if vm.state in _WRITING]
    for vm in up:
        folder = services.paths.vms / vm.id
        bound_console(folder / "console.log")
        for file in (folder / "console.log", folder / f"{vm.spec.vmm}.log"):
            note_size(file)
    return bool(up)


def bound_console(console: Path, limit: int = LIMIT, keep: int = KEEP) -> bool:
    """Cut a console that is longer than ``limit`` bytes to its last ``keep``; true when it was.

    The VMM appends (O_APPEND), so it goes on at the new end; what it writes during the cut may be lost.
    """
    try:
        with open(console, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size <= limit:
                return False
            file.seek(size - keep)
            tail = file.read(keep)
            file.truncate(0)
            file.seek(0)
            file.write(_CUT + tail)
        shift_sizes(console, size - keep - len(_CUT))
    except FileNotFoundError:  # a start that has not come that far
        return False
    except OSError as error:
        log.warning("%s could not be cut: %s", console, error)
        return False
    return True
