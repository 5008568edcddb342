"""Attaching a VM to the bridge by a tap of its own."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from banger.api import (
    ClaimTap,
    ConflictError,
    CreateTap,
    GuardTap,
    GuestInterface,
    NetworkError,
    RemoveTap,
    StartContext,
    Tap,
    UndoContext,
)
from banger_net_bridge.address import mac_of
from banger_net_bridge.place import Place, find_place, tap_of
from banger_net_bridge.pool import POOL

#: The host's name servers: those that systemd-resolved asks, else what every program reads.
_RESOLV = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
_RESOLV_LIMIT = 65536


def prepare(ctx: StartContext) -> Tap:
    """Make the bridge where it is not there, take a tap, and return the attachment."""
    settings: Any = ctx.settings("net-bridge")
    place, tap = find_place(settings), tap_of(ctx.vm.id)
    address = _check_address(ctx, place)
    ctx.record("bridge", place.bridge)
    ctx.record("mark", place.mark)
    ctx.record("tap", tap)
    ctx.record("forwards", [[address, port.host, port.guest] for port in ctx.vm.spec.publish])
    ctx.privileged.call(place.request())
    _take_tap(ctx, place, tap, isolated=settings.isolate)
    ctx.privileged.call(GuardTap(place.bridge, place.mark, tap, mac_of(ctx.vm.id), address))
    interface = GuestInterface(
        mac=mac_of(ctx.vm.id),
        address=f"{address}/{place.network.prefixlen}",
        gateway=place.gateway,
        dns=settings.dns or (place.gateway, *find_name_servers()[:2]),
    )
    return Tap(interface, tap, place.bridge, place.mark)


def _check_address(ctx: StartContext, place: Place) -> str:
    address = ctx.vm.address
    if address is None or IPv4Address(address) not in place.network:
        raise NetworkError(
            f"'{ctx.vm.name}' has the address {address}, which is not in {place.network}",
            hint=f"set [plugins.net-bridge] subnet back, or: banger vm delete {ctx.vm.name}",
        )
    return address


def _take_tap(ctx: StartContext, place: Place, tap: str, *, isolated: bool) -> None:
    """Take one of the pool, or make one when none is left."""
    while (pooled := POOL.take(place.bridge, isolated=isolated)) is not None:
        try:
            ctx.privileged.call(ClaimTap(place.bridge, place.mark, tap, pooled))
            return
        except (ConflictError, NetworkError):  # somebody removed it; or the VM's own tap is there
            continue
    ctx.privileged.call(CreateTap(place.bridge, place.mark, tap, isolated))


def release(ctx: UndoContext) -> None:
    """Remove the tap; the bridge stays, with the pool."""
    bridge, mark, tap = (ctx.section.get(key) for key in ("bridge", "mark", "tap"))
    if isinstance(bridge, str) and isinstance(mark, str) and isinstance(tap, str):
        ctx.privileged.call(RemoveTap(bridge, mark, tap))


def find_name_servers(files: tuple[Path, ...] = _RESOLV) -> tuple[str, ...]:
    """Return the host's name servers that VMs reach as well: IPv4, not on its loopback; three at most."""
    for file in files:
        try:
            with open(file, encoding="ascii", errors="replace") as stream:
                lines = stream.read(_RESOLV_LIMIT).splitlines()
        except OSError:
            continue
        words = [line.split() for line in lines if line.startswith("nameserver")]
        found = tuple(word[1] for word in words if len(word) > 1 and _is_reachable(word[1]))
        if found:
            return found[:3]
    return ()


def _is_reachable(text: str) -> bool:
    try:
        address = IPv4Address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)
