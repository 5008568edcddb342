"""Whether programs on this host find VMs by name."""

from __future__ import annotations

from pathlib import Path

from banger.api import (
    BangerError,
    CheckResult,
    CheckStatus,
    Commands,
    HostError,
    HostPrivileged,
    Privileged,
    ShowNat,
)
from banger_dns.guests import HUB
from banger_dns.route import Route, find_route
from banger_dns.server import ADDRESS, Serving, wait_serving

#: What the person types; sudo does not look where users install programs.
INSTALL = 'sudo "$(command -v banger)" dns install'
#: Seconds for the host's resolver to answer.
_SECONDS = 3.0
#: Seconds that the name server of a daemon which has only just started gets to come up.
_START_SECONDS = 1.0
#: There while systemd-resolved runs.
_RESOLVED = Path("/run/systemd/resolve")
#: How a firewall is told to let guests ask, by its name.
_OPEN = {
    "firewalld": "sudo firewall-cmd --permanent --zone=trusted --add-interface={bridge}; sudo firewall-cmd --reload",
    "ufw": "sudo ufw allow in on {bridge} to any port {port}",
    "": "let it accept port {port}, UDP and TCP, from {bridge}",
}
_RESOLV, _NSSWITCH = Path("/etc/resolv.conf"), Path("/etc/nsswitch.conf")


def check_names(commands: Commands) -> CheckResult:
    """NAME.vm resolves through the system."""
    serving, route = wait_serving(_START_SECONDS), find_route()
    if serving is None:
        return CheckResult(
            CheckStatus.WARN,
            "the name server does not run: NAME.vm is answered by nobody",
            "banger daemon status",
        )
    where = f"{ADDRESS}:{serving.port}"
    if (closed := find_closed(HostPrivileged(), serving.port)) is not None:
        return CheckResult(CheckStatus.WARN, *closed)
    if resolves(serving, commands):
        return CheckResult(CheckStatus.PASS, f"NAME.vm resolves to running VMs (asked at {where})")
    if route is None and not HUB.places and _is_led_by_bridges():
        detail = "no VM is on the bridge; while one is, the bridge's link leads programs to NAME.vm"
        return CheckResult(CheckStatus.PASS, detail)
    if route is None:
        detail = f"programs do not find NAME.vm: only {where} knows it"
        return CheckResult(CheckStatus.WARN, detail, INSTALL)
    return CheckResult(CheckStatus.WARN, *_explain(route, serving))


def find_closed(privileged: Privileged, port: int) -> tuple[str, str] | None:
    """Return which firewall lets no guest ask for names, and what to do; None when none is in the way."""
    for place in sorted(HUB.places, key=lambda place: place.bridge):
        try:
            found = privileged.call(ShowNat(place.bridge, place.mark))["blockers"]
        except BangerError:  # doctor says so of the helper itself
            continue
        for blocker in found:
            if blocker["hook"] == "input":
                named = blocker["who"] or "a firewall"
                where = f"{blocker['table']}, chain {blocker['chain']}"
                hint = _OPEN.get(blocker["who"], _OPEN[""]).format(bridge=place.bridge, port=port)
                return f"{named} drops what VMs ask this host for names ({where})", hint
    return None


def _explain(route: Route, serving: Serving) -> tuple[str, str]:
    """Return why names do not resolve although a route is installed, and what mends it."""
    if route.port != serving.port:
        detail = f"{route.path} leads to port {route.port}, but this daemon answers at {serving.port}"
        return detail, f"{INSTALL} --port {serving.port}"
    detail = f"{route.path} leads to port {serving.port}, but NAME.vm does not resolve"
    return detail, "does /etc/resolv.conf lead to systemd-resolved? see: resolvectl status"


def resolves(serving: Serving, commands: Commands) -> bool:
    """Tell whether the host's resolver comes to this name server, by a name that only this one answers.

    A host whose resolver cannot lead to one of its own is not asked: the question would go to the network.
    """
    if not has_local_resolver():
        return False
    try:
        found = commands.run(["getent", "hosts", serving.probe], timeout=_SECONDS, check=False)
    except HostError:
        return False
    return found.stdout.split()[:1] == [ADDRESS.encode()]


def _is_led_by_bridges() -> bool:
    """Tell whether VMs come on a bridge here, whose link systemd-resolved is told of."""
    return HostPrivileged().find() == "helper" and _RESOLVED.is_dir() and has_local_resolver()


def has_local_resolver(resolv: Path = _RESOLV, nsswitch: Path = _NSSWITCH) -> bool:
    """Tell whether names are asked of something on this host: a loopback name server, or systemd-resolved's module."""
    servers = [
        line.split()[1] for line in _lines(resolv) if line.startswith("nameserver ") and line.split()[1:]
    ]
    sources = [line.split() for line in _lines(nsswitch) if line.startswith("hosts:")]
    local = any(server.startswith("127.") or server == "::1" for server in servers)
    return local or any("resolve" in words for words in sources)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
