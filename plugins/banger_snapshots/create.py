"""Making a snapshot, and deleting one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from banger.api import ConflictError, OperationContext, Vm, VmState
from banger_snapshots.copies import copy_disks, find_disks, sync_all
from banger_snapshots.restore import finish
from banger_snapshots.settings import Settings
from banger_snapshots.shelf import DESCRIPTION, Shelf, Snapshot


def create(op: OperationContext, vm: Vm, name: str | None) -> Snapshot:
    """Keep a VM's disks as they are at one moment; a running VM stands still while they are copied.

    :param name: None for one that is free.
    """
    settings = op.services.plugin_settings.get("snapshots")
    assert isinstance(settings, Settings)
    shelf = Shelf(op.vm_directory(vm), vm.name)
    chosen = shelf.check_new(name, settings.limit)
    _check_ready(vm)
    with op.staging(f"snapshot {chosen}", "snapshots") as pull:
        made = pull.staging / "made"
        made.mkdir(mode=0o700)
        copies = _copy(op, vm, made)
        snapshot = Snapshot(
            name=chosen,
            created_at=datetime.now(UTC),
            running=vm.state is VmState.RUNNING,
            disks={copy.name: copy.stat().st_size for copy in copies},
        )
        describe(made, snapshot)
        op.progress("writing", "until it is on the host's disk")
        sync_all(made, (*copies, made / DESCRIPTION))
        with op.services.locks.hold("vm", vm.id, cancelled=op.cancelled):
            op.check_cancelled()
            op.vm(vm.id)  # nobody deleted it meanwhile
            shelf.check_new(chosen, settings.limit)
            shelf.put(made, chosen)
    return shelf.read(chosen)


def describe(made: Path, snapshot: Snapshot) -> None:
    """Write down what a snapshot is, beside its disks."""
    (made / DESCRIPTION).write_text(snapshot.model_dump_json(exclude={"bytes"}))


def _check_ready(vm: Vm) -> None:
    if vm.deleting:
        raise ConflictError(f"'{vm.name}' was being deleted", hint=f"banger vm delete {vm.name}")
    if vm.spec.init == "provisioned" and not vm.provisioned:
        raise ConflictError(
            f"'{vm.name}' is not provisioned yet: its disks are half made", hint=f"banger vm start {vm.name}"
        )


def _copy(op: OperationContext, vm: Vm, made: Path) -> list[Path]:
    with op.quiet_disks(vm) as directory:
        finish(directory)  # there is none where the VM runs: its start ended it
        disks = find_disks(directory)
        if not disks:
            raise ConflictError(
                f"'{vm.name}' was never started: it has no disk yet", hint=f"banger vm start {vm.name}"
            )
        return copy_disks(op, disks, made, "copying disks")


def delete(op: OperationContext, vm: Vm, name: str) -> None:
    """Delete a snapshot: it is gone at once, its blocks a moment later."""
    with (
        op.staging(f"snapshot {name}", "snapshots") as pull,
        op.services.locks.hold("vm", vm.id, cancelled=op.cancelled),
    ):
        Shelf(op.vm_directory(vm), vm.name).take(name, pull.staging / "gone")
