"""Putting a VM's disks back to a snapshot, all of them or none.

Copies are made first. One rename puts them into the VM's directory, as ``restore``: from then on it is decided, and
whatever is found there is moved over the VM's disks, by this operation, by the next daemon or by the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from banger.api import ConflictError, OperationContext, ServiceContext, StartContext, Vm, VmState
from banger_snapshots.copies import copy_disks, find_disks, sync_all
from banger_snapshots.shelf import Shelf, Snapshot, sync

log = logging.getLogger(__name__)

_DECIDED = "restore"


def restore(op: OperationContext, vm: Vm, name: str) -> Snapshot:
    """Put the disks of a VM that is down back to a snapshot; what is on them now is lost. The snapshot stays."""
    shelf = Shelf(op.vm_directory(vm), vm.name)
    snapshot = shelf.read(name)
    _check_down(vm)
    with op.staging(f"restore {name}", "snapshots") as pull:
        made = pull.staging / "made"
        made.mkdir(mode=0o700)
        with op.quiet_disks(vm) as directory:
            _check_down(op.vm(vm.id))
            finish(directory)
            copies = copy_disks(op, find_disks(shelf.resolve(name)), made, "copying disks")
            _grow(op, vm, copies)
            sync_all(made, copies)
            op.check_cancelled()
            decide(made, directory)
            finish(directory)
    return snapshot


def _check_down(vm: Vm) -> None:
    if vm.deleting:
        raise ConflictError(f"'{vm.name}' was being deleted", hint=f"banger vm delete {vm.name}")
    if vm.state not in (VmState.STOPPED, VmState.CREATED, VmState.ERROR):
        raise ConflictError(
            f"'{vm.name}' is {vm.state}: a snapshot is restored while it is down",
            hint=f"banger vm stop {vm.name}",
        )


def _grow(op: OperationContext, vm: Vm, copies: list[Path]) -> None:
    """Give disks the sizes that the VM has now: it may have been given larger ones since."""
    for copy in copies:
        size = vm.spec.overlay_mib if copy.stem == "root" else vm.spec.disk_mib
        op.services.disks.grow(copy, "qcow2" if copy.suffix == ".qcow2" else "raw", size)


def decide(made: Path, directory: Path) -> None:
    """Put complete copies into the VM's directory: the restore will be, whatever happens from now on."""
    made.rename(directory / _DECIDED)
    sync(directory)


def finish(directory: Path) -> bool:
    """Move what a decided restore brings over the VM's disks; tell whether there was one.

    Any number may do it at a time: each file is moved once, and whoever returns finds all of them moved.
    """
    decided = directory / _DECIDED
    if not decided.is_dir():
        return False
    for copy in find_disks(decided):
        move(copy, directory / copy.name)
    sync(directory)
    with contextlib.suppress(FileNotFoundError):
        decided.rmdir()
    return True


def move(copy: Path, disk: Path) -> None:
    """Put a copy in a disk's place, unless somebody did."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(copy, disk)


def finish_before_start(ctx: StartContext) -> None:
    """The step ``finish-restore``."""
    if finish(ctx.paths.directory):
        ctx.notice("its disks were put back to a snapshot: a restore that was cut off has ended")


async def serve(ctx: ServiceContext) -> None:
    """End the restores that the last daemon could not, then wait."""
    count = await asyncio.to_thread(_finish_all, ctx)
    ctx.report(f"{count} restores were cut off and have ended" if count else "no restore was cut off")
    await asyncio.Event().wait()


def _finish_all(ctx: ServiceContext) -> int:
    count = 0
    for vm in ctx.records():
        try:
            count += finish(ctx.directory_of(vm))
        except OSError as error:
            log.error("the restore of %s does not end: %s", vm.name, error)
    return count
