"""Services: what a plugin runs for as long as the daemon lives, as values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from banger.daemon.supervisor import ServiceContext


@dataclass(frozen=True, slots=True)
class Service:
    """Something that runs beside the daemon's own work, such as a name server.

    :param name: shown by ``daemon status``.
    :param summary: one line, what it is for.
    :param run: an ``async def`` on the daemon's loop, which it must not block. It serves until it is cancelled, which
        happens when the daemon ends; it then has two seconds to let go of what it holds.
    :param relays: it opens the ports that running VMs are given, and says which (``show_relays``).
    """

    name: str
    summary: str
    run: Callable[[ServiceContext], Awaitable[None]]
    relays: bool = False


@dataclass(frozen=True, slots=True)
class RunningVm:
    """What a service may know of a VM that is up.

    :param state: ``running``.
    :param address: the VM's own IPv4 address on the host; None where its network gives none.
    """

    id: str
    name: str
    state: str
    address: str | None


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """How a service is.

    :param state: ``running``, ``failed`` (it raised) or ``ended`` (it returned, or the daemon ends).
    :param detail: one line: what it reported last, or why it failed.
    """

    name: str
    plugin: str
    state: str
    detail: str
