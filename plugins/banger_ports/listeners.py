"""What a guest listens on, as far as it can be opened by itself. The guest may say anything."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from banger.api import PublishedPort

#: Ports of one VM that open by themselves, the lowest first.
LIMIT = 64
#: The guest's ssh server: ``vm ssh`` reaches it with keys of its own.
_NOT = frozenset({22})


def find_open(said: object, published: Iterable[PublishedPort]) -> set[int]:
    """Return the guest's TCP ports that the agent reaches and nobody published."""
    taken = {port.guest for port in published} | _NOT
    found = {_read(entry) for entry in said if isinstance(entry, dict)} if isinstance(said, list) else set()
    return set(sorted(port for port in found if port is not None and port not in taken)[:LIMIT])


def _read(entry: dict[str, Any]) -> int | None:
    number = entry.get("port")
    if type(number) is not int or not 0 < number < 65536 or entry.get("protocol") != "tcp":
        return None
    try:
        address = ipaddress.ip_address(str(entry.get("address"))[:60])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    # the agent connects to 127.0.0.1, then to ::1; a resolver at 127.0.0.53 is not meant
    reached = address.is_unspecified or str(address) in ("127.0.0.1", "::1")
    return number if reached else None
