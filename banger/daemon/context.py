"""What an operation gets, and what remains of one: its id, its progress, its outcome."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from banger.errors import CancelledError, NotFoundError
from banger.host.caller import current_op as current_op

if TYPE_CHECKING:
    from banger.daemon.ops.detail import VmDetail
    from banger.daemon.publish import StagedPull
    from banger.daemon.pulls import Catalogue
    from banger.daemon.services import Services
    from banger.model.image import Image, Kernel
    from banger.model.service import ServiceStatus
    from banger.model.source import PulledImage, PulledKernel
    from banger.model.vm import Vm

#: Finished operations are kept this long (seconds) and this many.
KEEP_SECONDS, KEEP_COUNT = 3600.0, 100
#: What became of an operation whose daemon was killed.
_INTERRUPTED = {
    "type": "banger:interrupted",
    "title": "Interrupted",
    "status": 500,
    "detail": "the daemon ended while it was under way",
    "hint": "what became of its VM: banger vm list; then do it again",
}
#: Progress events kept per operation, for a follower that comes late.
_EVENTS = 1000


@dataclass(slots=True)
class OperationRecord:
    """One call: running or finished. Only the daemon's loop changes it."""

    id: str
    name: str
    started: float = field(default_factory=time.time)
    finished: float | None = None
    error: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_EVENTS))
    published: int = 0
    cancel: threading.Event = field(default_factory=threading.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    #: Says on the disk that this is under way, for the next daemon if this one is killed.
    note: Path | None = None

    def publish(self, event: dict[str, Any]) -> None:
        """Add an event and wake followers; on the loop."""
        self.events.append(event)
        self.published += 1
        self._wake()

    def finish(self, *, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None) -> None:
        """Set the outcome and wake followers; on the loop."""
        self.finished, self.result, self.error = time.time(), result, error
        if self.note is not None:
            self.note.unlink(missing_ok=True)
        self._wake()

    def write_note(self, folder: Path) -> None:
        """Note that this is under way, once; what cannot be noted goes on all the same."""
        if self.note is None:
            self.note = folder / self.id
            with contextlib.suppress(OSError):
                folder.mkdir(mode=0o700, exist_ok=True)
                self.note.write_text(json.dumps({"name": self.name, "started": self.started}))

    async def follow(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the events kept so far and then those to come, until the operation is finished."""
        seen = 0
        while True:
            changed, finished = self.changed, self.finished is not None
            missed = min(self.published - seen, len(self.events))
            seen = self.published
            for event in list(self.events)[len(self.events) - missed :]:
                yield event
            if finished:
                return
            if self.changed is changed:
                await changed.wait()

    def _wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class OperationTable:
    """Operations by id: all that run, and the last that finished."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, OperationRecord] = OrderedDict()

    def begin(self, name: str) -> OperationRecord:
        """Open a record with a new id."""
        self._prune()
        record = OperationRecord(f"op-{secrets.token_hex(6)}", name)
        self._records[record.id] = record
        return record

    def recover(self, folder: Path) -> None:
        """Take up what a former daemon was at when it was killed, as interrupted."""
        for note in sorted(folder.glob("op-*")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                said = json.loads(note.read_bytes())
                record = OperationRecord(note.name, str(said["name"]), started=float(said["started"]))
                record.finish(error=_INTERRUPTED)
                self._records[record.id] = record
            note.unlink(missing_ok=True)

    def resolve(self, op_id: str) -> OperationRecord:
        """Return a record or raise NotFoundError."""
        record = self._records.get(op_id)
        if record is None:
            raise NotFoundError(
                f"there is no operation '{op_id[:40]}'",
                hint="finished ones are kept for an hour, the last hundred",
            )
        return record

    def all(self) -> list[OperationRecord]:
        """Return every record, oldest first."""
        self._prune()
        return list(self._records.values())

    def running(self) -> list[OperationRecord]:
        """Return what is not finished."""
        return [record for record in self._records.values() if record.finished is None]

    def _prune(self) -> None:
        finished = [record for record in self._records.values() if record.finished is not None]
        for position, record in enumerate(reversed(finished)):
            if position >= KEEP_COUNT or (record.finished or 0) < time.time() - KEEP_SECONDS:
                del self._records[record.id]


class OperationContext:
    """What ``Operation.run`` gets: the daemon's services, progress and cancellation."""

    def __init__(self, services: Services, record: OperationRecord) -> None:
        self.services = services
        self.record = record

    @property
    def op_id(self) -> str:
        """This call's id."""
        return self.record.id

    def vm(self, reference: str) -> Vm:
        """Return the VM that a name, an id or the first digits of one mean.

        :raises NotFoundError: there is none. :raises ConflictError: there are several.
        """
        from banger.daemon.lifecycle import resolve_vm

        return resolve_vm(self.services, reference)

    def vm_directory(self, vm: Vm) -> Path:
        """Return the directory that a VM's own files are in; it goes when the VM is deleted."""
        from banger.daemon.starts import vm_paths

        return vm_paths(self.services, vm).directory

    def vms(self) -> list[Vm]:
        """Return every VM, oldest first."""
        return self.services.database.vms()

    def detail(self, vm: Vm) -> VmDetail:
        """Return what is true of a VM now: its VMM's process, its published ports, what it holds."""
        from banger.daemon.ops.detail import detail

        return detail(self, vm)

    def guest_memory(self, vm: Vm) -> tuple[int, int] | None:
        """Return the MiB a running VM was started with and those its guest has now; None when its VMM does not say."""
        from banger.daemon.starts import vm_paths
        from banger.errors import VmmError

        vmm = self.services.registries.vmms.get(vm.spec.vmm)
        if vmm is None or vmm.memory is None:
            return None
        try:
            return vmm.memory(vm_paths(self.services, vm).sockets)
        except VmmError:
            return None

    def find_egress(
        self, network: str | None, with_: frozenset[str], without: frozenset[str]
    ) -> tuple[str, bool]:
        """Return the network of a VM that is yet to be made, and whether it leads out.

        :param network: the one asked for; None: as configured. :param with_: capabilities turned on, by name.
        """
        from banger.daemon.networks import find_egress

        return find_egress(self.services, network, with_, without)

    def check_runs(self, vm: Vm) -> None:
        """Raise ConflictError unless the VM runs and goes on."""
        from banger.daemon.ops.detail import check_runs

        check_runs(self.services, vm)

    async def ask_guest(self, vm: Vm, question: str, timeout: float, **fields: Any) -> dict[str, Any]:
        """Return a guest's answer, which is hostile text and numbers; GuestError within ``timeout`` seconds else."""
        from banger.daemon.starts import vm_paths

        channel = vm_paths(self.services, vm).channel
        return await self.services.guests.request(vm.id, channel, question, timeout=timeout, **fields)

    def quiet_disks(self, vm: Vm) -> AbstractContextManager[Path]:
        """Hold a VM's disks still and give the directory they are in; see :func:`banger.daemon.quiet.quiet_disks`."""
        from banger.daemon.quiet import quiet_disks

        return quiet_disks(self, vm)

    def staging(self, prefix: str, scheme: str) -> AbstractContextManager[StagedPull]:
        """Give a staging directory for what is to be published; whatever is left in it is removed.

        :param prefix: what the stages shown to people begin with; :param scheme: whose cache it is.
        """
        from banger.daemon.publish import staged

        return staged(self, prefix, scheme)

    def publish_image(self, pull: StagedPull, name: str, source: str, pulled: PulledImage) -> Image:
        """Put an image from a staging directory into the store; ConflictError when name or content are there."""
        from banger.daemon.publish import publish_image

        return publish_image(self, pull, name, source, pulled)

    def publish_kernel(self, pull: StagedPull, name: str, source: str, pulled: PulledKernel) -> Kernel:
        """Put a kernel from a staging directory into the store; ConflictError when name or content are there."""
        from banger.daemon.publish import publish_kernel

        return publish_kernel(self, pull, name, source, pulled)

    def image_directory(self, image: Image) -> Path:
        """Return the directory of an image's files: ``rootfs.ext4``, its work seed, ``manifest.json``."""
        from banger.daemon.publish import content_dir

        return content_dir(self.services.paths.images, image.digest)

    def kernel_directory(self, kernel: Kernel) -> Path:
        """Return the directory of a kernel's files: ``vmlinuz``, ``modules.ext4``, ``initrd.img``."""
        from banger.daemon.publish import content_dir

        return content_dir(self.services.paths.kernels, kernel.digest)

    @property
    def store(self) -> Catalogue:
        """The images and kernels that are here."""
        from banger.daemon.pulls import Catalogue

        return Catalogue(self)

    def service(self, name: str) -> ServiceStatus:
        """Return how a plugin's service is; NotFoundError when there is none of that name."""
        return self.services.supervisor.status(name)

    def cancelled(self) -> bool:
        """Tell whether somebody asked to cancel this operation."""
        return self.record.cancel.is_set()

    def check_cancelled(self) -> None:
        """Raise CancelledError when somebody did."""
        if self.cancelled():
            raise CancelledError("cancelled", hint="nothing was left behind")

    def event(self, kind: str, **members: Any) -> None:
        """Publish an event, from any thread."""
        event = {"event": kind, **{key: value for key, value in members.items() if value is not None}}
        self.services.loop.call_soon_threadsafe(self.record.publish, event)

    def progress(
        self, stage: str, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        """Publish a stage; raise CancelledError once cancelled."""
        self.check_cancelled()
        self.record.write_note(self.services.paths.operations)
        self.event("stage", stage=stage, detail=detail, done=done, total=total)
