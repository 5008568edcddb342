"""Which network a VM is in, whether it leads out, and at which ports its own appear there."""

from __future__ import annotations

from banger.daemon.services import Services
from banger.errors import NetworkError, UsageError
from banger.model.capability import Capability
from banger.model.network import NetworkMode
from banger.model.vm import PublishedPort

#: The network chosen when nobody says, first that is there.
_NETWORKS = ("bridge", "user")


def choose_network(services: Services, name: str | None) -> NetworkMode:
    """Return a network by name, else the first usual one that this host offers."""
    networks = services.registries.networks
    if name is not None:
        return networks.resolve(name)
    for candidate in (networks[name] for name in _NETWORKS if name in networks):
        if candidate.offered is None or candidate.offered():
            return candidate
    raise NetworkError("no plugin offers a network", hint="see: banger plugins list")


def find_egress(
    services: Services, name: str | None, with_: frozenset[str], without: frozenset[str]
) -> tuple[str, bool]:
    """Return the network that a VM would be in, and whether it has a way out there: the network's own, or by nat."""
    network = choose_network(services, name or services.settings.core.defaults.network)
    nat = find_nat(services, network)
    if nat is not None and "nat" not in without and (nat.default or "nat" in with_):
        return network.name, True
    return network.name, leads_out(services, network)


def find_nat(services: Services, network: NetworkMode) -> Capability | None:
    """Return the capability nat, where a network's VMs can have it."""
    nat = services.registries.capabilities.get("nat")
    return nat if nat is not None and nat.fits(network.attachment) else None


def leads_out(services: Services, network: NetworkMode) -> bool:
    """Tell whether a network gives its VMs a way out, as its plugin is configured."""
    if network.leads_out is None:
        return "egress" in network.gives
    return network.leads_out(services.settings_of_network(network.name))


def check_published(network: NetworkMode, ports: tuple[PublishedPort, ...]) -> None:
    """Raise UsageError when ports are to appear as others on a network where VMs have addresses of their own."""
    moved = next((port for port in ports if port.host != port.guest), None)
    if moved is not None and "publish" not in network.gives:
        raise UsageError(
            f"port {moved.guest} cannot appear as {moved.host} on the network '{network.name}': "
            "a VM's ports are at its own address there",
            hint=f"--publish {moved.guest}; or take another network: --net user",
        )


def parse_published(texts: tuple[str, ...]) -> tuple[PublishedPort, ...]:
    """Return published ports from ``PORT`` or ``HOST:GUEST`` texts; UsageError when one is no port or given twice."""
    ports: list[PublishedPort] = []
    for text in texts:
        host, colon, guest = text.partition(":")
        numbers = [host, guest] if colon else [host, host]
        if not all(_is_port(number) for number in numbers):
            raise UsageError(
                f"--publish {text[:40]} is not a port", hint="--publish 8080 or --publish 8080:80"
            )
        port = PublishedPort(host=int(numbers[0]), guest=int(numbers[1]))
        if any(port.host == other.host for other in ports):
            raise UsageError(f"port {port.host} is published twice", hint="give each host port once")
        ports.append(port)
    return tuple(ports)


def _is_port(text: str) -> bool:
    # The length comes first: Python refuses to read a number of thousands of digits.
    return len(text) <= 5 and text.isascii() and text.isdigit() and 1 <= int(text) <= 65535
