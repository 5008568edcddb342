"""A VM's address and MAC: both from its id, so that it keeps them wherever that is possible."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Network

from banger.api import NetworkError, Vm
from banger_net_bridge.settings import Settings


def assign(vm: Vm, taken: frozenset[str], settings: Settings) -> str:
    """Return a free address of the VMs' network, from a hash of the VM's id on."""
    network = IPv4Network(settings.subnet)
    # Not the network's own address, the host's and the broadcast address.
    room = network.num_addresses - 3
    first = int.from_bytes(hashlib.sha256(vm.id.encode()).digest()[:8], "big") % room
    for offset in range(room):
        address = str(network[2 + (first + offset) % room])
        if address not in taken:
            return address
    raise NetworkError(
        f"every address of {network} is taken",
        hint="banger vm list; delete some VMs, or [plugins.net-bridge] subnet",
    )


def mac_of(vm_id: str) -> str:
    """Return the VM's MAC address: locally administered, from its id."""
    return ":".join(["02", *(vm_id[position : position + 2] for position in range(0, 10, 2))])
