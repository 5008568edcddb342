"""``dns.status``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from banger.api import Operation, OperationContext, VmState
from banger_dns.check import resolves
from banger_dns.route import find_route
from banger_dns.server import ADDRESS, wait_serving

#: Seconds that the name server of a daemon which has only just started gets to come up.
_START_SECONDS = 5.0


class Nothing(BaseModel):
    """No parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RouteInfo(BaseModel):
    """What the host's resolver was told, and which port it asks."""

    path: str
    port: int | None


class Name(BaseModel):
    """A name that is answered."""

    name: str
    address: str


class DnsStatus(BaseModel):
    """The name server.

    ``detail``: why it does not run. ``port`` is None then. ``resolves``: programs on this host get its answers.
    """

    state: str
    detail: str
    address: str
    port: int | None
    zone: str
    route: RouteInfo | None
    resolves: bool
    names: tuple[Name, ...]


def status(op: OperationContext, _: Nothing) -> DnsStatus:
    """Report on the name server and on the way to it."""
    serving = wait_serving(_START_SECONDS) if op.service("dns").state == "running" else None
    service, route = op.service("dns"), find_route()
    names = tuple(
        Name(name=f"{vm.name}.vm", address=vm.address)
        for vm in op.services.database.vms()
        if vm.state is VmState.RUNNING and vm.address is not None
    )
    return DnsStatus(
        state=service.state,
        detail=service.detail if service.state != "running" else "",
        address=ADDRESS,
        port=serving.port if serving is not None else None,
        zone="vm",
        route=RouteInfo(path=str(route.path), port=route.port) if route is not None else None,
        resolves=serving is not None and resolves(serving, op.services.commands),
        names=names,
    )


OPERATIONS = [Operation("dns.status", "the name server", Nothing, DnsStatus, status)]
