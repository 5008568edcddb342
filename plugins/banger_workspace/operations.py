"""The daemon's part: it keeps the record. It never reads a repository and never runs a command that a request names."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from banger.api import NotFoundError, Operation, OperationContext, VmState
from banger_workspace.git import printable
from banger_workspace.record import Workspace


class WorkspaceParams(BaseModel):
    """A VM."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vm: str = Field(min_length=1, max_length=80)


class SaveParams(WorkspaceParams):
    """A VM and what its workspace is now."""

    workspace: Workspace


class WorkspaceDetail(BaseModel):
    """A VM's workspace, None before one was prepared.

    ``lock``: a file that whoever reads or writes the workspace locks (flock): imports exclude each other, exports wait.
    """

    vm: str
    id: str
    running: bool
    lock: str
    workspace: Workspace | None = None


class EgressParams(BaseModel):
    """What a VM would be made with, as of ``vm.create``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str | None = Field(default=None, min_length=1, max_length=80)
    nat: bool = False
    with_: tuple[str, ...] = Field(default=(), max_length=64, alias="with")
    without: tuple[str, ...] = Field(default=(), max_length=64)


class Egress(BaseModel):
    """The network such a VM would be in, and whether that leads out."""

    network: str
    egress: bool


def egress(op: OperationContext, params: EgressParams) -> Egress:
    """Tell whether a VM that is yet to be made would have a way out."""
    named = {text.partition(":")[0] for text in params.with_}
    network, leads_out = op.find_egress(
        params.network, frozenset(named | ({"nat"} if params.nat else set())), frozenset(params.without)
    )
    return Egress(network=network, egress=leads_out)


def show(op: OperationContext, params: WorkspaceParams) -> WorkspaceDetail:
    """Return a VM's workspace."""
    vm = op.vm(params.vm)
    folder = op.vm_directory(vm)
    return WorkspaceDetail(
        vm=vm.name,
        id=vm.id,
        running=vm.state is VmState.RUNNING,
        lock=str(folder / "workspace.lock"),
        workspace=_read(folder / "workspace.json"),
    )


def save(op: OperationContext, params: SaveParams) -> WorkspaceDetail:
    """Remember a VM's workspace."""
    vm, workspace = op.vm(params.vm), params.workspace
    file = op.vm_directory(vm) / "workspace.json"
    new = file.with_suffix(f".{op.op_id}")
    try:
        new.write_text(workspace.model_dump_json())
        os.replace(new, file)
    except FileNotFoundError:
        raise NotFoundError("the VM was deleted meanwhile", hint="see: banger vm list") from None
    _label(file.parent / "labels", f"{printable(workspace.source)} -> {workspace.guest_path}")
    return show(op, WorkspaceParams(vm=params.vm))


def _label(folder: Path, text: str) -> None:
    """Say where the workspace came from, for ``vm list`` and ``vm show``."""
    folder.mkdir(mode=0o700, exist_ok=True)
    new = folder / ".workspace"
    new.write_text(text)
    new.replace(folder / "workspace")


def _read(file: Path) -> Workspace | None:
    try:
        return Workspace.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


OPERATIONS = [
    Operation("vm.workspace.egress", "whether a new VM would have a way out", EgressParams, Egress, egress),
    Operation("vm.workspace.show", "a VM's workspace", WorkspaceParams, WorkspaceDetail, show),
    Operation("vm.workspace.save", "remember a VM's workspace", SaveParams, WorkspaceDetail, save),
]
