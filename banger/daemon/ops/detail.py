"""What is true of a VM now, as operations answer it."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from banger.daemon.context import OperationContext
from banger.daemon.services import Services
from banger.daemon.starts import open_handles, running_process, vm_paths
from banger.errors import ConflictError, PluginError
from banger.guest.wire import clean_text
from banger.model.vm import Vm, VmState
from banger.store.handles import Handles

VmReference = Annotated[
    str, Field(min_length=1, max_length=80, description="name, id, or the first digits of one")
]


class Params(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VmParams(Params):
    """One VM."""

    vm: VmReference


class ForwardedPort(BaseModel):
    """A TCP port of the guest as the host reaches it: through the VMM, or through the guest's agent."""

    address: str
    host: int
    guest: int
    through: Literal["vmm", "agent"] = "vmm"


class VmDetail(BaseModel):
    """A VM and what is true of it now."""

    vm: Vm
    notices: tuple[str, ...] = ()
    #: What plugins say of it in a few words, by name.
    labels: dict[str, str] = {}
    #: Whether the ``content`` that create was given is on the VM's work disk.
    content: bool = False
    #: Published ports as they are now; none while the VM is down.
    ports: tuple[ForwardedPort, ...] = ()
    pid: int | None = None
    #: What the VMM itself says: ``running``, or why it does not.
    status: str | None = None
    #: Why its guest counts as unhealthy: what it did, or did not do, until it behaves.
    unhealthy: str | None = None
    accelerator: str | None = None
    machine: str | None = None
    #: How its root disk is kept apart from the image: ``qcow2``, ``snapshot`` or ``raw``, a copy. None before the
    #: first start.
    root_disk: str | None = None
    #: Steps that hold something, in order, with the plugin each belongs to.
    holds: tuple[str, ...] = ()
    #: Steps whose plugin is not installed any more, with the package that has it.
    orphans: tuple[str, ...] = ()


def detail(op: OperationContext, vm: Vm, notices: tuple[str, ...] = ()) -> VmDetail:
    """Return a VM with what is true of it now."""
    return detail_of(op.services, vm, notices)


def detail_of(services: Services, vm: Vm, notices: tuple[str, ...] = ()) -> VmDetail:
    """Return a VM with what is true of it now."""
    handles = open_handles(services, vm)
    steps = services.registries.all_steps()
    boot = handles.find("boot")
    data: dict[str, Any] = boot.data if boot is not None and boot.live else {}
    return VmDetail(
        vm=vm,
        notices=notices,
        labels=labels_of(services, vm),
        ports=ports_of(services, vm, handles),
        pid=_process_of(services, vm, handles),
        unhealthy=unhealthy_of(services, vm),
        accelerator=data.get("accelerator"),
        machine=data.get("machine"),
        root_disk=_root_disk_of(handles),
        holds=tuple(f"{section.step} ({section.plugin})" for section in handles.sections if section.live),
        orphans=tuple(
            f"{section.step}: pip install banger-plugin-{section.plugin}"
            for section in handles.sections
            if section.step not in steps
        ),
    )


def _root_disk_of(handles: Handles) -> str | None:
    disk = handles.find("root-disk")
    return str(disk.data.get("format", "qcow2")) if disk is not None else None


def labels_of(services: Services, vm: Vm) -> dict[str, str]:
    """Return the user's labels, and what plugins wrote into ``labels/NAME`` of the VM's directory."""
    said = {}
    for file in sorted((vm_paths(services, vm).directory / "labels").glob("[a-z]*")):
        with contextlib.suppress(FileNotFoundError):  # its plugin took it back, or the VM goes
            said[file.name] = clean_text(file.read_text(errors="replace"), 300)
    return {**said, **vm.labels}


def unhealthy_of(services: Services, vm: Vm) -> str | None:
    """Return what the guest of a running VM did wrong; None when it behaves."""
    return services.complaints.reason(vm.id) if vm.state is VmState.RUNNING else None


def ports_of(services: Services, vm: Vm, handles: Handles) -> tuple[ForwardedPort, ...]:
    network = handles.find("network")
    forwards = network.data.get("forwards", []) if network is not None and network.live else []
    relayed = sorted(services.relays.get(vm.id, ()))
    return (
        *(ForwardedPort(address=address, host=host, guest=guest) for address, host, guest in forwards),
        *(
            ForwardedPort(address=str(vm.address), host=host, guest=guest, through="agent")
            for host, guest in relayed
        ),
    )


def _process_of(services: Services, vm: Vm, handles: Handles) -> int | None:
    try:
        return running_process(services, vm, handles)
    except PluginError:
        return None


def check_runs(services: Services, vm: Vm) -> None:
    """Raise ConflictError unless the VM runs and goes on."""
    if vm.state is not VmState.RUNNING:
        raise ConflictError(f"'{vm.name}' is {vm.state}, not running", hint=f"banger vm start {vm.name}")
    status = services.statuses.get(vm.id)
    if status is not None and not status.runs:
        raise ConflictError(f"'{vm.name}' is {status.words}", hint=f"{status.remedy} {vm.name}")
