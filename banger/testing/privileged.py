"""A fake of what only root may do: bridges, taps and ways out on paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from banger.errors import ConflictError, NetworkError
from banger.helper.requests import (
    AllowNat,
    BridgeRequest,
    ClaimTap,
    CreateTap,
    DenyNat,
    DropNames,
    EnsureBridge,
    GuardTap,
    LaunchJail,
    ReleaseDisk,
    RemoveBridge,
    RemoveJail,
    RemoveTap,
    Request,
    RouteNames,
    ShowBridge,
    ShowJail,
    ShowNat,
    ShowStatus,
    SignalJail,
    SnapshotDisk,
    TapRequest,
)


@dataclass
class FakeBridge:
    """A bridge: whose it is, its address, its taps with whether they are isolated, who has a way out."""

    mark: str
    address: IPv4Interface
    taps: dict[str, bool] = field(default_factory=dict)
    guests: set[str] = field(default_factory=set)


class FakePrivileged:
    """:class:`~banger.host.privileged.Privileged` that changes nothing and remembers what it was asked.

    :ivar bridges: what there is, by name. :ivar blockers: firewalls of others, as ``nat.show`` names them.
    :ivar names: bridges whose guests find others by name, each with the daemon's port.
    """

    def __init__(self, how: str | None = "process") -> None:
        """:param how: what ``find`` returns."""
        self.requests: list[Request] = []
        self.bridges: dict[str, FakeBridge] = {}
        self.names: dict[str, int] = {}
        self.disks: dict[str, str] = {}
        #: VM -> whether its process runs in there.
        self.jails: dict[str, bool] = {}
        self.blockers: list[dict[str, str]] = []
        self._how = how

    def find(self) -> str | None:
        return self._how

    def call(self, request: Request) -> dict[str, Any]:
        self.requests.append(request)
        handler = getattr(self, f"_{request.operation.replace('.', '_')}")
        result: dict[str, Any] = handler(request)
        return result

    def _helper_status(self, request: ShowStatus) -> dict[str, Any]:
        return {"version": "0", "pid": 1, "owner": 0}

    def _find(self, request: BridgeRequest) -> FakeBridge | None:
        bridge = self.bridges.get(request.bridge)
        if bridge is not None and bridge.mark != request.mark:
            raise ConflictError(f"{request.bridge} is there and another banger's", hint="choose another")
        return bridge

    def _resolve(self, request: BridgeRequest) -> FakeBridge:
        bridge = self._find(request)
        if bridge is None:
            raise NetworkError(f"there is no bridge {request.bridge}", hint="start a VM")
        return bridge

    def _bridge_ensure(self, request: EnsureBridge) -> dict[str, Any]:
        bridge, address = self._find(request), IPv4Interface((request.address, request.prefix))
        if bridge is None:
            self.bridges[request.bridge] = FakeBridge(request.mark, address)
        else:
            bridge.address = address
        return {"made": bridge is None}

    def _bridge_remove(self, request: RemoveBridge) -> dict[str, Any]:
        bridge = self._find(request)
        if bridge is not None and (vms := [tap for tap in bridge.taps if not _is_pooled(tap)]):
            raise ConflictError(f"{request.bridge} still has {', '.join(vms)}", hint="stop the VMs first")
        self.names.pop(request.bridge, None)
        return {"removed": self.bridges.pop(request.bridge, None) is not None}

    def _bridge_show(self, request: ShowBridge) -> dict[str, Any]:
        bridge = self._find(request)
        taps = sorted(bridge.taps.items()) if bridge is not None else []
        return {
            "exists": bridge is not None,
            "address": str(bridge.address) if bridge is not None else None,
            "taps": [tap for tap, _ in taps if not _is_pooled(tap)],
            "pool": [tap for tap, isolated in taps if _is_pooled(tap) and not isolated],
            "isolated_pool": [tap for tap, isolated in taps if _is_pooled(tap) and isolated],
        }

    def _tap_create(self, request: CreateTap) -> dict[str, Any]:
        taps = self._resolve(request).taps
        made = request.tap not in taps
        taps[request.tap] = request.isolated
        return {"made": made}

    def _tap_claim(self, request: ClaimTap) -> dict[str, Any]:
        bridge = self.bridges.get(request.bridge)
        if bridge is None or bridge.mark != request.mark or request.pooled not in bridge.taps:
            raise ConflictError(f"{request.pooled} is not in the pool any more", hint="take another")
        bridge.taps[request.tap] = bridge.taps.pop(request.pooled)
        return {}

    def _tap_guard(self, request: GuardTap) -> dict[str, Any]:
        if request.tap not in self._resolve(request).taps:
            raise ConflictError(f"the link {request.tap} was not made by this banger", hint="ip link")
        return {}

    def _tap_remove(self, request: RemoveTap) -> dict[str, Any]:
        return {"removed": self._owner_of(request).pop(request.tap, None) is not None}

    def _owner_of(self, request: TapRequest) -> dict[str, bool]:
        for bridge in self.bridges.values():
            if request.tap in bridge.taps and bridge.mark != request.mark:
                raise ConflictError(f"the link {request.tap} was not made by this banger", hint="ip link")
            if request.tap in bridge.taps:
                return bridge.taps
        return {}

    def _disk_snapshot(self, request: SnapshotDisk) -> dict[str, Any]:
        made = request.vm not in self.disks
        self.disks[request.vm] = f"/dev/mapper/banger-{request.vm}"
        return {"device": self.disks[request.vm], "made": made}

    def _disk_release(self, request: ReleaseDisk) -> dict[str, Any]:
        return {"removed": self.disks.pop(request.vm, None) is not None}

    def _jail_show(self, request: ShowJail) -> dict[str, Any]:
        return {"firecracker": "/usr/bin/firecracker", "jailer": "/usr/bin/jailer"}

    def _jail_launch(self, request: LaunchJail) -> dict[str, Any]:
        if self.jails.get(request.vm):
            raise ConflictError(f"{request.vm} is running in its jail", hint="banger vm kill")
        self.jails[request.vm] = True
        return {"pid": 1, "start_time": 0}

    def _jail_signal(self, request: SignalJail) -> dict[str, Any]:
        if request.vm in self.jails:
            self.jails[request.vm] = False
        return {"ended": True}

    def _jail_remove(self, request: RemoveJail) -> dict[str, Any]:
        if self.jails.get(request.vm):
            raise ConflictError(f"{request.vm} is running in its jail", hint="banger vm kill")
        return {"removed": self.jails.pop(request.vm, None) is not None}

    def _nat_allow(self, request: AllowNat) -> dict[str, Any]:
        bridge = self._resolve(request)
        for address in request.addresses:
            if (
                IPv4Address(address) not in bridge.address.network
                or IPv4Address(address) == bridge.address.ip
            ):
                raise ConflictError(f"{address} is no guest's address of {request.bridge}", hint="ip addr")
        bridge.guests = (set() if request.only else bridge.guests) | set(request.addresses)
        return {}

    def _nat_deny(self, request: DenyNat) -> dict[str, Any]:
        bridge = self.bridges.get(request.bridge)
        there = bridge is not None and request.address in bridge.guests
        if bridge is not None:
            bridge.guests.discard(request.address)
        return {"removed": there}

    def _nat_show(self, request: ShowNat) -> dict[str, Any]:
        bridge = self.bridges.get(request.bridge)
        guests = sorted(bridge.guests) if bridge is not None else []
        return {"guests": guests, "forwarding": True, "blockers": list(self.blockers)}

    def _names_route(self, request: RouteNames) -> dict[str, Any]:
        self._resolve(request)
        self.names[request.bridge] = request.port
        return {"resolver": True}

    def _names_drop(self, request: DropNames) -> dict[str, Any]:
        self._find(request)
        return {"resolver": self.names.pop(request.bridge, None) is not None}


def _is_pooled(tap: str) -> bool:
    return tap.startswith("bgrp-")
