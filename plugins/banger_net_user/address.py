"""Each VM's own loopback address: all of 127.0.0.0/8 is the host itself, so no set-up is needed."""

from __future__ import annotations

import hashlib
import os
from ipaddress import IPv4Address, IPv4Network

from banger.api import NetworkError, Vm

#: Far from 127.0.0.1 and from what resolvers and desktops use (127.0.0.53, 127.0.1.1).
POOL = IPv4Network("127.64.0.0/10")


def assign(vm: Vm, taken: frozenset[str], settings: object = None) -> str:
    """Return a free address, chosen by a hash of user and VM so that users of one host hardly ever meet."""
    digest = hashlib.sha256(f"{os.getuid()}:{vm.id}".encode()).digest()
    first = int.from_bytes(digest[:8], "big") % POOL.num_addresses
    for offset in range(POOL.num_addresses):
        address = POOL[(first + offset) % POOL.num_addresses]
        if _is_host(address) and str(address) not in taken:
            return str(address)
    raise NetworkError(f"every address of {POOL} is taken", hint="banger vm list; delete some VMs")


def _is_host(address: IPv4Address) -> bool:
    return address.packed[3] not in (0, 255)
