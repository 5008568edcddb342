"""Which of the VMs' addresses have connections: the host's table of TCP connections, as the kernel shows it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

_TABLE = Path("/proc/net/tcp")
#: A listening socket is no traffic (include/net/tcp_states.h). Every other state is, TIME_WAIT included, in which a
#: connection stays for a minute after its end: so none is missed by a look every few seconds.
_LISTEN = "0A"
#: Bytes of the table that are read.
_LIMIT = 16 * 1024 * 1024


def busy_addresses(table: Path = _TABLE) -> set[str]:
    """Return the IPv4 addresses at either end of the host's TCP connections."""
    found: set[str] = set()
    try:
        with open(table, encoding="ascii", errors="replace") as file:
            lines = file.read(_LIMIT).splitlines()[1:]
    except OSError:
        return found
    for line in lines:
        fields = line.split()
        if len(fields) > 3 and fields[3] != _LISTEN:
            found.update(_address(end) for end in fields[1:3])
    return found


def _address(end: str) -> str:
    """Return the address of ``0100007F:1F90``, which is in the order of the host's bytes."""
    return socket.inet_ntoa(struct.pack("=I", int(end.partition(":")[0], 16)))
