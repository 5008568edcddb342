"""Operations on snapshots."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from banger.api import Operation, OperationContext
from banger_snapshots.shelf import Shelf, Snapshot

#: Characters of a reference or name that are looked at.
_LONGEST = 128


class VmParams(BaseModel):
    """``vm``: a VM, by name or id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vm: str = Field(min_length=1, max_length=_LONGEST)


class CreateParams(VmParams):
    """``name``: what to call it; None for ``snapshot-1`` and so on."""

    name: str | None = Field(default=None, max_length=_LONGEST)


class NamedParams(VmParams):
    """``name``: of a snapshot of that VM."""

    name: str = Field(max_length=_LONGEST)


class SnapshotResult(BaseModel):
    """A snapshot, and the name of the VM it is of."""

    vm: str
    snapshot: Snapshot


class ListResult(BaseModel):
    """A VM's snapshots, oldest first."""

    vm: str
    snapshots: tuple[Snapshot, ...]


class DeleteResult(BaseModel):
    """The VM, and the name of what is gone."""

    vm: str
    name: str


def create_snapshot(op: OperationContext, params: CreateParams) -> SnapshotResult:
    """Keep a VM's disks as they are now."""
    from banger_snapshots.create import create

    vm = op.vm(params.vm)
    return SnapshotResult(vm=vm.name, snapshot=create(op, vm, params.name))


def list_snapshots(op: OperationContext, params: VmParams) -> ListResult:
    """List what a VM has."""
    vm = op.vm(params.vm)
    return ListResult(vm=vm.name, snapshots=tuple(Shelf(op.vm_directory(vm), vm.name).snapshots()))


def restore_snapshot(op: OperationContext, params: NamedParams) -> SnapshotResult:
    """Put the disks of a VM that is down back."""
    from banger_snapshots.restore import restore

    vm = op.vm(params.vm)
    return SnapshotResult(vm=vm.name, snapshot=restore(op, vm, params.name))


def delete_snapshot(op: OperationContext, params: NamedParams) -> DeleteResult:
    """Delete one."""
    from banger_snapshots.create import delete

    vm = op.vm(params.vm)
    delete(op, vm, params.name)
    return DeleteResult(vm=vm.name, name=params.name)


OPERATIONS = (
    Operation(
        "snapshot.create", "keep a VM's disks as they are now", CreateParams, SnapshotResult, create_snapshot
    ),
    Operation("snapshot.list", "list a VM's snapshots", VmParams, ListResult, list_snapshots),
    Operation("snapshot.restore", "put a VM's disks back", NamedParams, SnapshotResult, restore_snapshot),
    Operation("snapshot.delete", "delete a snapshot", NamedParams, DeleteResult, delete_snapshot),
)
