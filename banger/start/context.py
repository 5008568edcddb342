"""What a step gets: this VM, its paths, the host seams and progress; nothing of the rest of banger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pydantic import BaseModel

    from banger.host.command import Commands
    from banger.host.disk import Disks
    from banger.host.privileged import Privileged
    from banger.model.auth import Lent
    from banger.model.capability import Capability
    from banger.model.image import Image, Kernel
    from banger.model.network import NetAttachment, NetworkMode
    from banger.model.vm import Vm
    from banger.model.vmm import Vmm


@dataclass(frozen=True, slots=True)
class VmPaths:
    """Where one VM's files are. The directories exist while a step runs.

    :param directory: ``<state>/vms/<id>``, 0700.
    :param sockets: ``<state>/s/<8 hex>``, 0700, short by construction.
    :param image_dir: the image's directory, never written; :param kernel_dir: the kernel's.
    :param cache: banger's cache directory; contents may vanish between starts.
    """

    directory: Path
    sockets: Path
    image_dir: Path
    kernel_dir: Path
    cache: Path

    @property
    def rootfs(self) -> Path:
        return self.image_dir / "rootfs.ext4"

    @property
    def vmlinuz(self) -> Path:
        return self.kernel_dir / "vmlinuz"

    @property
    def modules(self) -> Path:
        return self.kernel_dir / "modules.ext4"

    @property
    def content(self) -> Path:
        """A directory that whoever created the VM wants on the work disk; gone once it is there."""
        return self.directory / "content"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def channel(self) -> Path:
        return self.sockets / "agent"


class GuestHandle(Protocol):
    """The guest of this start, through the agent; blocking calls for worker threads."""

    def connect(self, timeout: float) -> None:
        """Wait until the agent answers, at most ``timeout`` seconds; GuestError when it does not, or reports why."""

    def wait_ready(self, timeout: float) -> None:
        """Wait until the agent reports ready, at most ``timeout`` seconds; GuestError with what it reports else."""

    def request(self, op: str, *, timeout: float = 10, **fields: Any) -> dict[str, Any]:
        """Send one request and return the agent's answer; GuestError on refusal, loss or timeout."""

    def find_modified(self, path: str) -> int | None:
        """Return when a file of the guest was last written, seconds since 1970; None when there is no such file."""

    def write_tree(self, directory: str, records: bytes, timeout: float) -> list[str]:
        """Put files below a directory, no link followed; what the guest says went wrong, a line each.

        :param records: as ``tree-write`` takes them.
        """

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = 30) -> tuple[int, str]:
        """Run a command as root and wait for its end.

        :param input: its standard input.
        :returns: its exit status, 128 and more for a signal, and the last line of its standard error, cleaned.
        :raises GuestError: it could not be started, did not end in time (it is ended then), or the guest was lost.
        """


class StartContext(Protocol):
    """The context of a step's ``run``."""

    vm: Vm
    image: Image
    kernel: Kernel
    paths: VmPaths
    commands: Commands
    disks: Disks
    #: What only root may do: by the root helper, or by this process where it is root.
    privileged: Privileged
    #: What was chosen for this VM.
    vmm: Vmm
    network: NetworkMode
    #: The capabilities that are on, by name, with their options.
    capabilities: tuple[tuple[Capability, Mapping[str, Any]], ...]
    #: What the network mode prepared; None before the milestone ``net-ready``.
    attachment: NetAttachment | None
    #: What the user lends this VM.
    lent: tuple[Lent, ...]
    #: True for the VM's first start, the one that its create makes.
    first_start: bool

    @property
    def guest(self) -> GuestHandle:
        """The guest; usable from the milestone ``booted`` on."""

    def settings(self, plugin: str) -> BaseModel:
        """Return the frozen settings mounted at ``[plugins.<plugin>]``."""

    def options(self, capability: str) -> Mapping[str, Any]:
        """Return the options this VM has for a capability."""

    def record(self, key: str, value: Any) -> None:
        """Write a JSON value to this step's section of ``handles.json`` (fsync, rename). Before acquiring, always."""

    def recorded(self) -> Mapping[str, Any]:
        """Return this step's section as it is now."""

    def progress(
        self, stage: str, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        """Show a stage to whoever waits. Raises CancelledError once the operation is cancelled."""

    def notice(self, text: str) -> None:
        """Say something to whoever waits that stays on the screen: a line, no failure."""


@dataclass(frozen=True, slots=True)
class UndoContext:
    """The context of ``undo``, ``remove`` and ``quiesce``: the row, the section, the seams. Never memory.

    :param section: this step's section of ``handles.json``, empty when the step never recorded anything.
    """

    vm: Vm
    section: Mapping[str, Any]
    paths: VmPaths
    commands: Commands
    privileged: Privileged
    vmms: Mapping[str, Vmm]
    networks: Mapping[str, NetworkMode]
