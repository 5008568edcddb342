"""Which bridge this banger's VMs are on."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from ipaddress import IPv4Network

from banger.api import EnsureBridge, find_state
from banger_net_bridge.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """A bridge and its network.

    :param mark: tells this banger's links from another's on the same host.
    """

    bridge: str
    mark: str
    network: IPv4Network

    @property
    def gateway(self) -> str:
        """The host's address there."""
        return str(self.network[1])

    def request(self) -> EnsureBridge:
        """Return the request that makes it."""
        return EnsureBridge(self.bridge, self.mark, self.gateway, self.network.prefixlen)


def find_place(settings: Settings) -> Place:
    """Return the place that is configured."""
    mark = hashlib.sha256(os.fsencode(find_state(os.getuid()))).hexdigest()[:8]
    return Place(settings.bridge, mark, IPv4Network(settings.subnet))


def tap_of(vm_id: str) -> str:
    """Return the name of a VM's tap."""
    return f"bgr-{vm_id[:8]}"
