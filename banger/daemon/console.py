"""Consoles are written by guests, who are hostile: their files are kept short, or one guest could fill the disk."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from banger.daemon.services import Services
from banger.model.vm import VmState

log = logging.getLogger(__name__)

#: Bytes a console may have, what is kept of it when it has more, and seconds between two looks.
LIMIT, KEEP, INTERVAL = 16 * 1024 * 1024, 1024 * 1024, 5.0


async def bound_consoles(services: Services) -> None:
    """Cut the consoles of running VMs now and then, for as long as the daemon lives."""
    while True:
        await asyncio.sleep(INTERVAL)
        for vm in services.database.vms():
            if vm.state is VmState.RUNNING:
                bound_console(services.paths.vms / vm.id / "console.log")


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
            file.write(b"[earlier output was cut]\n" + tail)
    except OSError as error:
        log.warning("%s could not be cut: %s", console, error)
        return False
    return True
