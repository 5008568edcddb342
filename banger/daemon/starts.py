"""One VM's start as the daemon runs it: the context that steps get, and the plan carried out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from banger.config.paths import make_private
from banger.daemon.context import OperationContext
from banger.daemon.guests import LoopGuest
from banger.daemon.lending import resolve_lent
from banger.daemon.publish import content_dir
from banger.daemon.services import Services
from banger.errors import NotFoundError, PluginError, StartError, VmmError
from banger.model.capability import Capability
from banger.model.image import Image, Kernel
from banger.model.network import NetAttachment, NetworkMode
from banger.model.vm import Vm
from banger.model.vmm import Vmm
from banger.registry import Owned
from banger.start.console import last_words
from banger.start.context import UndoContext, VmPaths
from banger.start.run import run_plan
from banger.start.step import StartStep
from banger.store.handles import Handles, Section

log = logging.getLogger(__name__)


def vm_paths(services: Services, vm: Vm) -> VmPaths:
    """Return where a VM's files are; makes nothing."""
    paths = services.paths
    return VmPaths(
        directory=paths.vms / vm.id,
        sockets=paths.sockets / vm.id[:8],
        image_dir=content_dir(paths.images, vm.image),
        kernel_dir=content_dir(paths.kernels, vm.kernel),
        cache=paths.cache,
    )


def open_handles(services: Services, vm: Vm, *, lenient: bool = False) -> Handles:
    """Return a VM's handles, from its file or, when that is lost, from the copy in its row.

    :param lenient: when both are unusable, return none at all instead of raising StoreError.
    """
    database = services.database
    return Handles(
        services.paths.vms / vm.id / "handles.json",
        lambda content: database.set_handles(vm.id, content),
        database.handles(vm.id),
        lenient=lenient,
    )


def undo_factory(services: Services, vm: Vm) -> Callable[[Section], UndoContext]:
    """Return what makes the context of an undo, for each section."""
    paths, registries = vm_paths(services, vm), services.registries

    def make(section: Section) -> UndoContext:
        return UndoContext(
            vm,
            section.data,
            paths,
            services.commands,
            services.privileged,
            registries.vmms,
            registries.networks,
        )

    return make


def running_process(services: Services, vm: Vm, handles: Handles) -> int | None:
    """Return the process id of a VM's live VMM, or None.

    :raises PluginError: the VMM it was started with is not loaded, so nobody can tell.
    """
    section = handles.find("boot")
    if section is None or "vmm" not in section.data:
        return None
    vmm = services.registries.vmms.get(str(section.data["vmm"]))
    if vmm is None:
        raise PluginError(
            f"the vmm '{section.data['vmm']}' that '{vm.name}' was started with is not loaded",
            hint="see: banger plugins list; install or enable the plugin that has it",
        )
    return vmm.find_process(section.data, vm.id)


class Start:
    """One start: shared by the contexts of its steps."""

    def __init__(self, op: OperationContext, vm: Vm, *, first: bool) -> None:
        services = op.services
        self.op = op
        self.vm = vm
        self.first = first
        self.paths = vm_paths(services, vm)
        self.image = _record(services.database.images(), vm.image, "image", vm.image_name)
        self.kernel = _record(services.database.kernels(), vm.kernel, "kernel", vm.kernel_name)
        self.vmm = services.registries.vmms.resolve(vm.spec.vmm)
        self.network = services.registries.networks.resolve(vm.spec.network)
        self.capabilities = tuple(
            (services.registries.capabilities.resolve(name), options)
            for name, options in sorted(vm.spec.capabilities.items())
        )
        self.lent = resolve_lent(services, vm.spec.auth)
        self.attachment: NetAttachment | None = None
        self.interrupt = threading.Event()

    def run(self) -> dict[str, float]:
        """Run the plan; seconds per step. On failure everything run is taken back before this raises."""
        services = self.op.services
        make_private(self.paths.directory)
        make_private(self.paths.sockets)
        plan = services.registries.plan(self.vm.spec.capabilities)
        self.handles = open_handles(services, self.vm)
        services.starting[self.vm.id] = self.interrupt
        try:
            return run_plan(
                plan,
                self.handles,
                self.op.op_id,
                lambda owned, section: StepContext(self, owned, section),
                undo_factory(services, self.vm),
                forget=self.first,
            )
        finally:
            services.starting.pop(self.vm.id, None)

    def watch(self) -> None:
        """Raise when waiting for the guest makes no sense any more."""
        self.op.check_cancelled()
        if self.interrupt.is_set():
            raise StartError("the start was interrupted: the VM is being killed or deleted")
        if running_process(self.op.services, self.vm, self.handles) is None:
            said = last_words(self.paths.console)
            raise VmmError(
                f"the VM ended while it booted{': ' + said if said else ''}",
                hint=f"banger vm logs {self.vm.name}",
            )


class StepContext:
    """:class:`banger.start.context.StartContext` of one step."""

    def __init__(self, start: Start, owned: Owned[StartStep], section: Section) -> None:
        self._start, self._owned, self._section = start, owned, section
        self.vm: Vm = start.vm
        self.image: Image = start.image
        self.kernel: Kernel = start.kernel
        self.paths: VmPaths = start.paths
        self.commands = start.op.services.commands
        self.disks = start.op.services.disks
        self.privileged = start.op.services.privileged
        self.vmm: Vmm = start.vmm
        self.network: NetworkMode = start.network
        self.capabilities: tuple[tuple[Capability, Mapping[str, Any]], ...] = start.capabilities
        self.first_start = start.first
        self.lent = start.lent

    @property
    def attachment(self) -> NetAttachment | None:
        return self._start.attachment

    @attachment.setter
    def attachment(self, value: NetAttachment | None) -> None:
        self._start.attachment = value

    @property
    def guest(self) -> LoopGuest:
        services = self._start.op.services
        return LoopGuest(services.loop, services.guests, self.vm.id, self.paths.channel, self._start.watch)

    def settings(self, plugin: str) -> BaseModel:
        return self._start.op.services.plugin_settings.get(plugin)

    def options(self, capability: str) -> Mapping[str, Any]:
        return self.vm.spec.capabilities.get(capability, {})

    def record(self, key: str, value: Any) -> None:
        self._section.data[key] = value
        self._start.handles.save()

    def recorded(self) -> Mapping[str, Any]:
        return dict(self._section.data)

    def progress(
        self, stage: str, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        self._start.op.progress(stage, detail, done=done, total=total)

    def notice(self, text: str) -> None:
        self._start.op.event("notice", text=text)


def _record(records: list[Any], digest: str, what: str, name: str) -> Any:
    for record in records:
        if record.digest == digest:
            return record
    raise NotFoundError(f"the {what} '{name}' this VM is pinned to is gone", hint=f"banger {what} list")
