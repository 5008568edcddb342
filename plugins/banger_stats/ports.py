"""``vm.ports``: what a guest listens on, and where that opens from the host."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from banger.api import Operation, OperationContext, clean_text
from banger_stats.scheme import find_scheme

_ASK_SECONDS = 10.0
#: Ports whose protocol is looked for at the same time.
_AT_ONCE = 16


class PortsParams(BaseModel):
    """``probe``: find out which of the ports that open from the host speak HTTP or HTTPS."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vm: str = Field(min_length=1, max_length=80)
    probe: bool = True


class GuestPort(BaseModel):
    """Something the guest listens on.

    ``reach``: ``host`` when ``endpoint`` opens from the host, ``guest`` when only the guest's own programs reach it,
    ``unpublished`` when publishing it would open it. ``endpoint``: a URL, or ``address:port``; the guest's own address
    unless ``reach`` is ``host``. ``through``: what leads there: ``vmm``; ``agent``, which reaches the guest's own
    loopback too; ``network``, where the guest has an address of its own.
    """

    protocol: str
    port: int
    reach: str
    endpoint: str
    through: str | None = None
    process: str = ""
    command: str = ""


class PortsResult(BaseModel):
    """Lowest port first."""

    vm: str
    ports: tuple[GuestPort, ...]


async def ports(op: OperationContext, params: PortsParams) -> PortsResult:
    """List what a guest listens on."""
    vm = op.vm(params.vm)
    op.check_runs(vm)
    said = await op.ask_guest(vm, "ports", _ASK_SECONDS)
    detail = await asyncio.to_thread(op.detail, vm)
    opens: dict[int, tuple[str, int, str]] = {
        forward.guest: (forward.address, forward.host, forward.through) for forward in detail.ports
    }
    direct = (
        vm.address if vm.address is not None and not ipaddress.ip_address(vm.address).is_loopback else None
    )
    found = _merge(said.get("ports"))
    room = asyncio.Semaphore(_AT_ONCE)

    async def place(port: GuestPort) -> GuestPort:
        way = opens.get(port.port) if port.protocol == "tcp" else None
        if direct is not None and port.protocol == "tcp":
            way = (direct, port.port, "network")
        if way is None or (port.reach == "guest" and way[2] in ("vmm", "network")):
            return port
        at = way[:2]
        endpoint = f"{at[0]}:{at[1]}"
        async with room:
            scheme = await find_scheme(*at) if params.probe else None
        return port.model_copy(
            update={
                "reach": "host",
                "through": way[2],
                "endpoint": f"{scheme}://{endpoint}" if scheme else endpoint,
            }
        )

    return PortsResult(vm=vm.name, ports=tuple(await asyncio.gather(*map(place, found))))


def _merge(said: object) -> list[GuestPort]:
    """Return one entry for each protocol and port; an address that others reach wins over the guest's loopback."""
    found: dict[tuple[int, str], GuestPort] = {}
    for entry in said if isinstance(said, list) else []:
        port = _read(entry) if isinstance(entry, dict) else None
        if port is None:
            continue
        key = (port.port, port.protocol)
        if key not in found or (found[key].reach == "guest" and port.reach != "guest"):
            found[key] = port
    return [found[key] for key in sorted(found)]


def _read(entry: dict[str, Any]) -> GuestPort | None:
    number, protocol = entry.get("port"), entry.get("protocol", "tcp")
    if type(number) is not int or not 0 < number < 65536 or protocol not in ("tcp", "udp"):
        return None
    try:
        address = ipaddress.ip_address(str(entry.get("address"))[:60])
    except ValueError:
        return None
    host = f"[{address}]" if address.version == 6 else str(address)
    return GuestPort(
        protocol=protocol,
        port=number,
        reach="guest" if address.is_loopback else "unpublished",
        endpoint=f"{host}:{number}",
        process=clean_text(entry.get("process"), 40),
        command=clean_text(entry.get("command"), 256),
    )


PORTS = Operation("vm.ports", "what a guest listens on", PortsParams, PortsResult, ports)
