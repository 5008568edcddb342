"""What the arguments of operations may be: patterns and bounds, each check one line of error."""

from __future__ import annotations

import os
import re
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network

from banger.errors import UsageError

#: Interface names have 15 bytes at most (IFNAMSIZ). Only these are ever made, changed or removed.
BRIDGE = r"br-banger(-[a-z0-9]{1,5})?"
VM_TAP = r"bgr-[0-9a-f]{8}"
POOL_TAP = r"bgrp-[0-9a-f]{8}"
#: Whose a bridge is: one banger's, where there are several on a host.
MARK = r"[0-9a-f]{8}"
#: A VM's id.
VM = r"[0-9a-f]{32}"
#: What a VM's process may be sent.
SIGNAL = r"SIG(TERM|KILL)"
#: Bytes of a path (linux/limits.h), and MiB of a disk.
_PATH_MAX, DISK_MAX_MIB = 4095, 16 << 20
MAC = r"02(:[0-9a-f]{2}){5}"
#: Prefix lengths of a bridge's network.
PREFIX_MIN, PREFIX_MAX = 8, 30
#: Networks that hold no guests: this host, loopback, link-local, multicast and above.
_NEVER = tuple(IPv4Network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"))


def check_pattern(what: str, text: str, pattern: str) -> None:
    """Raise UsageError unless the whole text fits the pattern."""
    if re.fullmatch(pattern, text, re.ASCII) is None:
        raise UsageError(f"{what} {text[:40]!r} does not fit {pattern}", hint="only names of banger's own")


def check_tap(text: str) -> None:
    """Raise UsageError unless it is the name of a tap of ours, of a VM or of the pool."""
    check_pattern("tap", text, f"{VM_TAP}|{POOL_TAP}")


def check_address(text: str) -> IPv4Address:
    """Return an IPv4 address that a host may have; UsageError else."""
    try:
        address = IPv4Address(text)
    except AddressValueError as error:
        raise UsageError(f"{text[:40]!r} is no IPv4 address", hint="four numbers: 172.16.176.1") from error
    if any(address in network for network in _NEVER):
        raise UsageError(f"{address} is no address for a guest or a bridge", hint="a private network's")
    return address


def check_bridge_address(text: str, prefix: int) -> IPv4Interface:
    """Return a bridge's address with its network, within the bounds; UsageError else."""
    address = check_address(text)
    if not PREFIX_MIN <= prefix <= PREFIX_MAX:
        raise UsageError(f"/{prefix} is out of range", hint=f"/{PREFIX_MIN} to /{PREFIX_MAX}")
    interface = IPv4Interface((address, prefix))
    network = interface.network
    if address in (network.network_address, network.broadcast_address):
        raise UsageError(f"{address} is not a host's address in {network}", hint=f"{network[1]} is one")
    if any(network.overlaps(never) for never in _NEVER):
        raise UsageError(f"{network} holds addresses that no guest may have", hint="a private network")
    return interface


def check_path(text: str) -> None:
    """Raise UsageError unless it is an absolute path that means what it says: no dots, nothing empty, no control."""
    parts = text.split("/")
    bad = len(os.fsencode(text)) > _PATH_MAX or parts[0] or any(part in ("", ".", "..") for part in parts[1:])
    if bad or len(parts) < 2 or any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise UsageError(f"{text[:80]!r} is no absolute path without dots", hint="/var/lib/banger/…")
