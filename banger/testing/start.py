"""A start on paper: one VM's row, directories and ``handles.json``, in which steps run one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from banger.errors import BangerError
from banger.host.command import HostCommands
from banger.host.disk import HostDisks
from banger.start.context import UndoContext, VmPaths
from banger.start.step import StartStep
from banger.store.handles import Handles, Section
from banger.testing.privileged import FakePrivileged
from banger.testing.samples import sample_image, sample_kernel, sample_vm

if TYPE_CHECKING:
    from pydantic import BaseModel

    from banger.host.command import Commands
    from banger.host.disk import Disks
    from banger.host.privileged import Privileged
    from banger.model.auth import Lent
    from banger.model.capability import Capability
    from banger.model.network import NetAttachment, NetworkMode
    from banger.model.vm import Vm
    from banger.model.vmm import Vmm


class Interrupted(BangerError):
    """What :class:`FakeStart` raises where it was told to fail."""


class FakeGuest:
    """A guest that agrees to everything and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        #: Path -> when a file was last written; what a copy into the guest complains of.
        self.modified: dict[str, int] = {}
        self.complaints: list[str] = []
        #: What commands end with.
        self.ended: tuple[int, str] = (0, "")

    def connect(self, timeout: float) -> None:
        self.requests.append(("connect", {}))

    def wait_ready(self, timeout: float) -> None:
        self.requests.append(("wait_ready", {}))

    def request(self, op: str, *, timeout: float = 10, **fields: Any) -> dict[str, Any]:
        self.requests.append((op, fields))
        return self.answers.get(op, {})

    def find_modified(self, path: str) -> int | None:
        self.requests.append(("find_modified", {"path": path}))
        return self.modified.get(path)

    def write_tree(self, directory: str, records: bytes, timeout: float) -> list[str]:
        self.requests.append(("write_tree", {"directory": directory, "records": records}))
        return self.complaints

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = 30) -> tuple[int, str]:
        self.requests.append(("exec", {"argv": list(argv), "input": input}))
        return self.ended


class FakeStart:
    """Runs, undoes and removes single steps as the core would.

    Undo and remove read ``handles.json`` anew each time, so what they work from is what they would have in a process
    that never ran the step.

    :param directory: everything is made below it.
    :param fail_at: the how-manieth touch of the context (a record, a program, a disk, a progress report) raises
        :class:`Interrupted`; programs and disks touch twice, before and after. 0 for never.
    """

    def __init__(
        self,
        directory: Path,
        *,
        vm: Vm | None = None,
        commands: Commands | None = None,
        disks: Disks | None = None,
        privileged: Privileged | None = None,
        vmm: Vmm | None = None,
        network: NetworkMode | None = None,
        capabilities: Iterable[tuple[Capability, Mapping[str, Any]]] = (),
        settings: Mapping[str, BaseModel] | None = None,
        fail_at: int = 0,
    ) -> None:
        self.vm = vm or sample_vm()
        self.image, self.kernel = sample_image(), sample_kernel()
        self.paths = VmPaths(
            directory / "vm", directory / "s", directory / "image", directory / "kernel", directory / "cache"
        )
        for made in (self.paths.directory, self.paths.sockets, self.paths.image_dir, self.paths.kernel_dir):
            made.mkdir(parents=True, exist_ok=True)
        self.paths.cache.mkdir(exist_ok=True)
        self.commands = commands or HostCommands()
        self.disks = disks or HostDisks(self.commands)
        self.privileged: Privileged = privileged or FakePrivileged()
        self.vmm, self.network = vmm, network
        self.capabilities = tuple(capabilities)
        self.plugin_settings = dict(settings or {})
        self.guest = FakeGuest()
        self.attachment: NetAttachment | None = None
        self.lent: tuple[Lent, ...] = ()
        self.stages: list[str] = []
        self.notices: list[str] = []
        self.fail_at, self.touches = fail_at, 0
        self.runs = 0

    def handles(self) -> Handles:
        """Return the VM's handles as its file has them."""
        return Handles(self.paths.directory / "handles.json", lambda _: None)

    def touch(self) -> None:
        """Count one touch of the context; raise when it is the one to fail at."""
        self.touches += 1
        if self.touches == self.fail_at:
            raise Interrupted(f"the test interrupted touch {self.touches}")

    def run(self, step: StartStep) -> None:
        """Run a step, its section entered first."""
        self.runs += 1
        handles = self.handles()
        section = handles.enter(step.name, "test", f"run-{self.runs}", keep=step.remove is not None)
        step.run(FakeStepContext(self, handles, section))

    def undo(self, step: StartStep) -> None:
        """Undo a step from its section alone; its section is released as the core would."""
        self._take_back(step, step.undo, Handles.release)

    def remove(self, step: StartStep) -> None:
        """Remove a step's VM resources from its section alone."""
        self._take_back(step, step.remove, Handles.drop)

    def section(self, step: StartStep) -> Mapping[str, Any]:
        """Return what a step recorded."""
        section = self.handles().find(step.name)
        return section.data if section is not None else {}

    def undo_context(self, section: Mapping[str, Any]) -> UndoContext:
        """Return what undo and remove get."""
        vmms = {self.vmm.name: self.vmm} if self.vmm is not None else {}
        networks = {self.network.name: self.network} if self.network is not None else {}
        return UndoContext(self.vm, section, self.paths, self.commands, self.privileged, vmms, networks)

    def _take_back(
        self,
        step: StartStep,
        function: Callable[[UndoContext], None] | None,
        done: Callable[[Handles, Section], None],
    ) -> None:
        handles = self.handles()
        section = handles.find(step.name)
        if function is not None:
            function(self.undo_context(section.data if section is not None else {}))
        if section is not None:
            done(handles, section)


class FakeStepContext:
    """:class:`banger.start.context.StartContext` of one step of a :class:`FakeStart`."""

    def __init__(self, start: FakeStart, handles: Handles, section: Section) -> None:
        self._start, self._handles, self._section = start, handles, section
        self.vm, self.image, self.kernel, self.paths = start.vm, start.image, start.kernel, start.paths
        self.commands: Any = _Touching(start.commands, start.touch)
        self.disks: Any = _Touching(start.disks, start.touch)
        self.privileged: Any = _Touching(start.privileged, start.touch)
        self.vmm: Any = start.vmm
        self.network: Any = start.network
        self.capabilities = start.capabilities
        self.first_start = start.runs == 1
        self.guest, self.lent = start.guest, start.lent

    @property
    def attachment(self) -> NetAttachment | None:
        return self._start.attachment

    @attachment.setter
    def attachment(self, value: NetAttachment | None) -> None:
        self._start.attachment = value

    def settings(self, plugin: str) -> BaseModel:
        return self._start.plugin_settings[plugin]

    def options(self, capability: str) -> Mapping[str, Any]:
        return self.vm.spec.capabilities.get(capability, {})

    def record(self, key: str, value: Any) -> None:
        self._section.data[key] = value
        self._handles.save()
        self._start.touch()

    def recorded(self) -> Mapping[str, Any]:
        return dict(self._section.data)

    def progress(
        self, stage: str, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        self._start.stages.append(stage)
        self._start.touch()

    def notice(self, text: str) -> None:
        self._start.notices.append(text)


class _Touching:
    """A seam whose every call touches the context before and after."""

    def __init__(self, seam: object, touch: Callable[[], None]) -> None:
        self._seam, self._touch = seam, touch

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._seam, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            self._touch()
            result = value(*arguments, **named)
            self._touch()
            return result

        return call
