"""Networks: how a VM is attached, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from banger.model.check import Check
    from banger.model.vm import Vm
    from banger.start.context import StartContext, UndoContext


@dataclass(frozen=True, slots=True)
class GuestInterface:
    """What the guest is told about its interface.

    :param mac: ``02:...`` lower case.
    :param address: IPv4 address with prefix length, ``10.0.2.15/24``.
    :param gateway: IPv4 address, or None for no default route.
    :param dns: name servers.
    """

    mac: str
    address: str
    gateway: str | None = None
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class HostForward:
    """A TCP port on a host address that leads to the guest."""

    host_address: str
    host_port: int
    guest_port: int


@dataclass(frozen=True, slots=True)
class QemuUser:
    """Attachment kind ``qemu-user``: QEMU's own user-mode stack, no privilege needed.

    :param restrict: no way out for the guest at all.
    """

    interface: GuestInterface
    forwards: tuple[HostForward, ...] = ()
    restrict: bool = False
    kind: str = "qemu-user"


@dataclass(frozen=True, slots=True)
class Tap:
    """Attachment kind ``tap``: an existing tap device, by name, in a bridge.

    :param bridge: its name. :param mark: whose it is, as the root helper wants to know it.
    """

    interface: GuestInterface
    device: str
    bridge: str = ""
    mark: str = ""
    kind: str = "tap"


NetAttachment = QemuUser | Tap


@dataclass(frozen=True, slots=True)
class NetworkMode:
    """A way to attach VMs to a network.

    :param attachment: the kind of attachment that ``prepare`` returns: ``qemu-user`` or ``tap``.
    :param gives: what VMs get, as words for ``vm show``: ``egress``, ``publish``, ``host-address``, ``guest-address``
        (the guest's own, reached from the host), ``vm-to-vm``.
    :param assign: the address that the host reaches a VM at, chosen at create and when it changes its network: gets the
        VM, the addresses that other VMs hold and the settings of the mode's plugin (None where it declared none);
        milliseconds, no I/O but a look at the host's addresses. None when this mode gives no address.
    :param leads_out: whether VMs have a way out under these settings of the mode's plugin; None: as ``gives`` says.
    :param offered: whether VMs get this mode here, unless somebody chooses another; None: where no better one is.
    :param prepare: acquires the attachment at each start; records before it acquires.
    :param release: undoes ``prepare``; the rules of ``StartStep.undo``.
    """

    name: str
    summary: str
    attachment: str
    prepare: Callable[[StartContext], NetAttachment]
    release: Callable[[UndoContext], None]
    assign: Callable[[Vm, frozenset[str], Any], str | None] | None = None
    gives: frozenset[str] = frozenset()
    checks: tuple[Check, ...] = ()
    leads_out: Callable[[Any], bool] | None = None
    offered: Callable[[], bool] | None = None
