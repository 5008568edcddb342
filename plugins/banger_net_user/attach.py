"""Attaching a VM by QEMU's own user-mode stack."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

from banger.api import GuestInterface, HostForward, NetworkError, QemuUser, StartContext, UndoContext

#: The addresses of QEMU's user-mode network, its defaults: guest, gateway (the host), name server.
_GUEST, _GATEWAY, _DNS = "10.0.2.15/24", "10.0.2.2", "10.0.2.3"
#: Ports below the unprivileged limit appear this much higher.
SHIFT = 20000

_LIMIT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def prepare(ctx: StartContext) -> QemuUser:
    """Choose the host's ports, refuse those that are taken, and return the attachment."""
    address = ctx.vm.address
    if address is None:
        raise NetworkError(f"'{ctx.vm.name}' has no address", hint=f"banger vm delete {ctx.vm.name}")
    limit = unprivileged_limit()
    forwards = tuple(
        HostForward(address, host_port(port.host, limit), port.guest) for port in ctx.vm.spec.publish
    )
    ctx.record(
        "forwards", [[forward.host_address, forward.host_port, forward.guest_port] for forward in forwards]
    )
    for position, forward in enumerate(forwards):
        if any(forward.host_port == other.host_port for other in forwards[:position]):
            raise NetworkError(
                f"two published ports want {address}:{forward.host_port}",
                hint=f"ports below {limit} appear {SHIFT} higher; choose another",
            )
        if forward.host_port > 65535:
            raise NetworkError(
                f"port {forward.host_port - SHIFT} cannot be published: it would appear at {forward.host_port}",
                hint=f"publish a port from {limit} on, or below {65536 - SHIFT}",
            )
        check_free(forward)
    settings: Any = ctx.settings("net-user")
    interface = GuestInterface(mac=mac_of(ctx.vm.id), address=_GUEST, gateway=_GATEWAY, dns=(_DNS,))
    return QemuUser(interface, forwards, settings.restrict)


def release(ctx: UndoContext) -> None:
    """Nothing to do: the ports go with the VMM's process."""


def unprivileged_limit() -> int:
    """Return the first port an ordinary process may bind."""
    try:
        return int(_LIMIT.read_text())
    except (OSError, ValueError):
        return 1024


def host_port(wanted: int, limit: int) -> int:
    """Return the port on the VM's address: the one wanted, or ``SHIFT`` higher below the unprivileged limit."""
    return wanted if wanted >= limit else wanted + SHIFT


def check_free(forward: HostForward) -> None:
    """Raise NetworkError when somebody listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((forward.host_address, forward.host_port))
        except OSError as error:
            where = f"{forward.host_address}:{forward.host_port}"
            why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be bound: {error.strerror}"
            raise NetworkError(
                f"{where} {why}",
                hint="publish another: --publish HOST:GUEST; for a VM that is there: banger vm set --help",
            ) from error


def mac_of(vm_id: str) -> str:
    """Return the VM's MAC address: locally administered, from its id."""
    return ":".join(["02", *(vm_id[position : position + 2] for position in range(0, 10, 2))])
