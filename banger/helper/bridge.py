"""Operations on bridges and the taps in them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from banger.errors import ConflictError
from banger.helper import requests, table
from banger.helper.links import (
    Link,
    Links,
    alias_of,
    check_bridge,
    find_pooled,
    is_our_tap,
    make_tap,
    note_pooled,
    open_links,
    resolve_bridge,
)

_POOL = "bgrp-"


def ensure_bridge(request: requests.EnsureBridge) -> dict[str, Any]:
    """Make the bridge, or mend it; says whether it is a new one."""
    wanted = IPv4Interface((request.address, request.prefix))
    with open_links() as links:
        link, mac = links.find(request.bridge), _mac_of(wanted.ip)
        if link is not None and not _is_half_made(link, mac):
            check_bridge(link, request.mark)
        had = links.addresses(link) if link is not None else []
        if wanted not in had:
            _check_free(links, wanted.network, link)
            _check_unused(links, link, had)
        new = link is None
        if link is None:
            link = links.add_bridge(request.bridge, mac)
        if link.alias is None:
            links.set(link.index, ifalias=alias_of(request.mark))
        for other in had:
            if other != wanted:
                links.remove_address(link, other)
        if wanted not in had:
            links.add_address(link, wanted)
        if not link.up:
            links.set(link.index, state="up")
    table.ensure(request.bridge)
    return {"made": new}


def _is_half_made(link: Link, mac: str) -> bool:
    """Tell whether a bridge is one of ours that was cut off before it got its alias."""
    return link.kind == "bridge" and link.alias is None and link.mac == mac and not link.up


def _check_free(links: Links, network: IPv4Network, link: Link | None) -> None:
    use = links.find_use(network, link.index if link is not None else None)
    if use is not None:
        raise ConflictError(
            f"{network} is in use on this host: {use}",
            hint="give the VMs another: [plugins.net-bridge] subnet, for example 10.213.0.0/20",
        )


def _check_unused(links: Links, link: Link | None, had: list[IPv4Interface]) -> None:
    """Refuse to give a bridge another network while VMs are in it."""
    if link is None or not had:
        return
    vms = [port.name for port in links.ports(link) if not port.name.startswith(_POOL)]
    if vms:
        raise ConflictError(
            f"{link.name} has {had[0]}, and {len(vms)} taps of VMs are in it",
            hint="stop the VMs first, or set [plugins.net-bridge] subnet back",
        )


def _mac_of(address: IPv4Address) -> str:
    """Return a bridge's MAC: locally administered, from its address."""
    return ":".join(["02", "00", *(f"{byte:02x}" for byte in address.packed)])


def remove_bridge(request: requests.RemoveBridge) -> dict[str, Any]:
    """Remove the bridge with its pool and its firewall table; refused while a VM's tap is in it."""
    with open_links() as links:
        link = links.find(request.bridge)
        if link is not None:
            check_bridge(link, request.mark)
            ports = links.ports(link)
            others = [port.name for port in ports if not port.name.startswith(_POOL)]
            if others:
                raise ConflictError(
                    f"{request.bridge} still has {', '.join(others[:5])}", hint="stop the VMs first"
                )
            for port in ports:
                links.remove(port)
            links.remove(link)
    table.remove(request.bridge)
    return {"removed": link is not None}


def show_bridge(request: requests.ShowBridge) -> dict[str, Any]:
    """Say what the bridge has; ``exists`` is false where there is none."""
    with open_links() as links:
        link = links.find(request.bridge)
        if link is None:
            return {"exists": False, "address": None, "taps": [], "pool": [], "isolated_pool": []}
        check_bridge(link, request.mark)
        ports = links.ports(link)
        addresses = links.addresses(link)
    return {
        "exists": True,
        "address": str(addresses[0]) if addresses else None,
        "taps": [port.name for port in ports if not port.name.startswith(_POOL)],
        "pool": [port.name for port in ports if port.name.startswith(_POOL) and not port.isolated],
        "isolated_pool": [port.name for port in ports if port.name.startswith(_POOL) and port.isolated],
    }


def create_tap(request: requests.CreateTap, owner: int) -> dict[str, Any]:
    """Make a tap in the bridge; one of this name that is ours is made good again."""
    with open_links() as links:
        bridge = resolve_bridge(links, request.bridge, request.mark)
        there = links.find(request.tap)
        if there is None:
            make_tap(request.tap, owner)
        tap = _resolve_tap(links, request)
        try:
            state = "down" if request.tap.startswith(_POOL) else "up"
            links.set(tap.index, master=bridge.index, ifalias=alias_of(request.mark), state=state)
            if request.isolated or (there is not None and there.isolated):
                links.isolate(tap, request.isolated)
        except BaseException:
            if there is None:
                links.remove(tap)
            raise
        if request.tap.startswith(_POOL):
            note_pooled(tap, request.mark)
    return {"made": there is None}


def claim_tap(request: requests.ClaimTap) -> dict[str, Any]:
    """Take a tap of the pool: one message renames it and brings it up."""
    with open_links() as links:
        pooled = find_pooled(links, request.pooled, request.mark)
        if pooled is None:
            raise ConflictError(f"{request.pooled} is not in the pool any more", hint="take another")
        links.set(pooled, ifname=request.tap, state="up")
    return {}


def guard_tap(request: requests.GuardTap) -> dict[str, Any]:
    """Let through what the guest sends as itself only."""
    check_guests(request, (request.address,))
    with open_links() as links:
        _resolve_tap(links, request)
    table.guard(request.bridge, request.tap, request.mac, request.address)
    return {}


def remove_tap(request: requests.RemoveTap) -> dict[str, Any]:
    """Remove a tap of ours, if it is there, and its guard."""
    with open_links() as links:
        there = links.find(request.tap) is not None
        if there:
            links.remove(_resolve_tap(links, request))
    table.unguard(request.bridge, request.tap)
    return {"removed": there}


def _resolve_tap(links: Links, request: requests.TapRequest) -> Link:
    tap = links.find(request.tap)
    if tap is None or not is_our_tap(tap, request.mark):
        raise ConflictError(
            f"the link {request.tap} was not made by this banger", hint=f"see: ip -d link show {request.tap}"
        )
    return tap


def check_guests(request: requests.BridgeRequest, addresses: tuple[str, ...]) -> None:
    """Raise unless the bridge is ours and the addresses are guests' ones in its network."""
    with open_links() as links:
        link = resolve_bridge(links, request.bridge, request.mark)
        networks = links.addresses(link)
    for address in addresses:
        if not any(
            IPv4Address(address) in own.network and IPv4Address(address) != own.ip for own in networks
        ):
            raise ConflictError(
                f"{address} is no guest's address of {request.bridge}",
                hint=f"see: ip addr show {request.bridge}",
            )
