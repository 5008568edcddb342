"""Virtual machine monitors, as values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from banger.host.command import Commands
    from banger.model.check import Check
    from banger.model.network import NetAttachment
    from banger.start.context import StartContext, UndoContext


@dataclass(frozen=True, slots=True)
class VmmFeatures:
    """What a VMM can do, as data; the core chooses by it.

    :param attachments: kinds of network attachment it takes: ``qemu-user``, ``tap``.
    :param disk_formats: of ``raw`` and ``qcow2``.
    :param guest_channel: ``virtio-serial`` or ``vsock``.
    :param jailed: the root helper launches it where there is one, and gives it block devices that are root's.
    """

    attachments: frozenset[str]
    disk_formats: frozenset[str]
    guest_channel: str
    jailed: bool = False
    snapshots: bool = False
    hotplug: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class VmmProbe:
    """What was found of a VMM on this host, without starting a guest.

    :param usable: whether it can run a guest here at all.
    :param version: of the program.
    :param accelerator: ``kvm`` or ``tcg``.
    :param reason: why it is not usable, or why it is slower than it could be; None when all is well.
    :param hint: what mends it.
    """

    usable: bool
    version: str = ""
    accelerator: str = ""
    reason: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk of a VM. ``format`` is ``raw`` or ``qcow2``; the guest finds it by the UUID in its superblock."""

    name: str
    path: Path
    format: str = "raw"
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """Everything a VMM needs to know to run one VM.

    :param vm_id: 32 hexadecimal digits; :param name: shown in the process list.
    :param sockets: private directory (0700) with a short path, for sockets whose names have at most 5 characters.
    :param channel: path of the guest channel's Unix socket, inside ``sockets``.
    :param console: file the guest's console is appended to.
    """

    vm_id: str
    name: str
    vcpu: int
    memory_mib: int
    accel: str
    kernel: Path
    initrd: Path
    drives: tuple[Drive, ...]
    attachment: NetAttachment | None
    directory: Path
    sockets: Path
    channel: Path
    console: Path


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What ``Vmm.build`` made of a spec: the exact command line and what it means.

    :param accelerator: ``kvm`` or ``tcg``.
    :param machine: for people: ``microvm``, ``q35``.
    """

    argv: tuple[str, ...]
    accelerator: str
    machine: str


@dataclass(frozen=True, slots=True)
class VmmStatus:
    """What a running VM's VMM says of it.

    :param state: ``running``, ``paused``, ``io-error``, ``panicked``, ``failed`` or ``unknown``.
    :param detail: for people: why the guest does not go on.
    :param remedy: what to do about it, ending in a command that the VM's name follows.
    """

    state: str
    detail: str = ""
    remedy: str = "banger vm show"

    @property
    def words(self) -> str:
        """What to call it."""
        return self.detail or self.state

    @property
    def runs(self) -> bool:
        """Whether the guest makes progress, as far as is known."""
        return self.state in ("running", "unknown")


@dataclass(frozen=True, slots=True)
class Vmm:
    """A virtual machine monitor.

    :param probe: looks whether it can run here with an accelerator (``auto``, ``kvm``, ``tcg``), quickly.
    :param guest_modules: kernel modules that the initramfs must load for the devices ``build`` attaches.
    :param build: spec to plan; no side effects.
    :param launch: starts the process, recording before it does; what that prints goes to ``<name>.log`` in the VM's
        directory; returns when the VMM runs or raises VmmError with
        what it printed. The process outlives the daemon and is not tied to the request.
    :param find_process: the process id of a VM's live VMM from the ``boot`` section, or None; never mistakes another
        process for it.
    :param kill: ends the process (idempotent) and waits, bounded, for it to be gone; removes its sockets.
    """

    name: str
    summary: str
    features: VmmFeatures
    priority: int
    guest_modules: tuple[str, ...]
    probe: Callable[[Commands, str], VmmProbe]
    build: Callable[[LaunchSpec, VmmProbe], LaunchPlan]
    launch: Callable[[StartContext, LaunchSpec, LaunchPlan], None]
    find_process: Callable[[Mapping[str, Any], str], int | None]
    kill: Callable[[UndoContext], None]
    checks: tuple[Check, ...] = ()
    #: What a running VM's VMM says of it, asked with the directory of its sockets; at most a few seconds.
    status: Callable[[Path], VmmStatus] | None = None
    #: Reports each status as it comes, until the VMM ends; on the daemon's loop, costs nothing while nothing happens.
    watch: Callable[[Path, Callable[[VmmStatus], None]], Awaitable[None]] | None = None
    #: Freeze the guest's processors, and let them go on; VmmError when it does not.
    pause: Callable[[Path], None] | None = None
    resume: Callable[[Path], None] | None = None
    #: MiB that a running VM was started with, and that its guest has of them now; VmmError when it does not say.
    memory: Callable[[Path], tuple[int, int]] | None = None
    #: Let a running guest have so many MiB of what it was started with; return what it has after a few seconds.
    set_memory: Callable[[Path, int], int] | None = None
    #: Close a port that a running VM was started with: the address and port of the host; VmmError when it does not.
    close_port: Callable[[Path, str, int], None] | None = None
    #: The Unix socket of a VM's serial console, in the directory of its sockets: one visitor at a time; what the guest
    #: prints is in ``LaunchSpec.console`` whether there is one or not.
    console: Callable[[Path], Path] | None = None
