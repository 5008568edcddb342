"""Bridges and taps by netlink. What others made is never changed: each link of ours says so in its alias."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

from banger.errors import ConflictError, HostError, NetworkError

#: linux/if_tun.h.
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x0002, 0x1000, 0x4000, 0x8000
_IFF_UP = 0x1
#: The routing table that a host's own routes are in (linux/rtnetlink.h, RT_TABLE_MAIN).
_MAIN_TABLE = 254
_CHOOSE = "choose another: [plugins.net-bridge] bridge and subnet"


@dataclass(frozen=True, slots=True)
class Link:
    """A link as netlink shows it.

    :param alias: whose it is, where it is ours. :param master: index of the bridge it is in.
    :param isolated: whether it is an isolated port of that.
    """

    index: int
    name: str
    kind: str | None
    mac: str
    alias: str | None
    master: int | None
    up: bool
    isolated: bool


class Links:
    """A connection to the kernel; each method is one or two messages."""

    def __init__(self, route: Any) -> None:
        self._route = route

    def close(self) -> None:
        """Close the connection."""
        self._route.close()

    def find(self, name: str) -> Link | None:
        """Return a link by name."""
        try:
            index = socket.if_nametoindex(name)
        except OSError:
            return None
        found = [_read(message) for message in self._route.get_links(index)]
        return found[0] if found else None

    def ports(self, bridge: Link) -> list[Link]:
        """Return what is in a bridge, by name."""
        found = [_read(message) for message in self._route.get_links()]
        return sorted((link for link in found if link.master == bridge.index), key=lambda link: link.name)

    def add_bridge(self, name: str, mac: str) -> Link:
        """Make a bridge. Its MAC is given, or it would change with the taps that come and go."""
        self._route.link("add", ifname=name, kind="bridge", address=mac)
        made = self.find(name)
        if made is None:
            raise NetworkError(f"{name} went away while it was made")
        return made

    def set(self, index: int, **changes: Any) -> None:
        """Change a link."""
        self._route.link("set", index=index, **changes)

    def isolate(self, link: Link, on: bool) -> None:
        """Make a bridge's port an isolated one, or an ordinary one."""
        self._route.brport("set", index=link.index, isolated=int(on))

    def remove(self, link: Link) -> None:
        """Remove a link."""
        self._route.link("del", index=link.index)

    def addresses(self, link: Link) -> list[IPv4Interface]:
        """Return a link's IPv4 addresses."""
        messages = self._route.get_addr(family=socket.AF_INET, index=link.index)
        return [IPv4Interface((message.get("local"), message["prefixlen"])) for message in messages]

    def add_address(self, link: Link, address: IPv4Interface) -> None:
        """Give a link an address."""
        self._route.addr(
            "add", index=link.index, address=str(address.ip), prefixlen=address.network.prefixlen
        )

    def remove_address(self, link: Link, address: IPv4Interface) -> None:
        """Take an address from a link."""
        self._route.addr(
            "del", index=link.index, address=str(address.ip), prefixlen=address.network.prefixlen
        )

    def find_use(self, network: IPv4Network, but: int | None) -> str | None:
        """Return what uses addresses of a network on this host: an address or a route not of the link ``but``."""
        for message in self._route.get_addr(family=socket.AF_INET):
            there = IPv4Interface((message.get("local") or message.get("address"), message["prefixlen"]))
            if message["index"] != but and there.network.overlaps(network):
                return f"{there} of {self._name(message['index'])}"
        for message in self._route.get_routes(family=socket.AF_INET, table=_MAIN_TABLE):
            target, link = message.get("dst"), message.get("oif")
            if not target or (but is not None and link == but):
                continue
            if IPv4Network((target, message["dst_len"])).overlaps(network):
                return f"the route to {target}/{message['dst_len']}" + (
                    f" by {self._name(link)}" if link else ""
                )
        return None

    def _name(self, index: int) -> str:
        try:
            return socket.if_indextoname(index)
        except OSError:
            return f"link {index}"


class _Kept:
    """The connection of a process that serves one call after the other, and so needs no more than one."""

    wanted = False
    links: Links | None = None


def keep_links() -> None:
    """Keep the connection between calls from now on; for a process of one thread only."""
    _Kept.wanted = True


@contextlib.contextmanager
def open_links() -> Iterator[Links]:
    """Connect to the kernel; what it refuses becomes a NetworkError.

    :raises HostError: this process may not change links.
    """
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    links, _Kept.links = _Kept.links or Links(IPRoute()), None
    try:
        yield links
    except NetlinkError as error:
        said = os.strerror(error.code)
        if error.code == errno.EPERM:
            raise HostError(
                f"the kernel lets this process change no links: {said}", hint="as root"
            ) from error
        raise NetworkError(f"the kernel refused: {said}", hint="see: ip link; ip addr") from error
    finally:
        if _Kept.wanted and _Kept.links is None:
            _Kept.links = links
        else:
            links.close()


def _read(message: Any) -> Link:
    info: Any = message.get_attr("IFLA_LINKINFO")
    slave: Any = info.get_attr("IFLA_INFO_SLAVE_DATA") if info else None
    return Link(
        index=message["index"],
        name=str(message.get_attr("IFLA_IFNAME")),
        kind=info.get_attr("IFLA_INFO_KIND") if info else None,
        mac=str(message.get_attr("IFLA_ADDRESS")),
        alias=message.get_attr("IFLA_IFALIAS") or None,
        master=message.get_attr("IFLA_MASTER"),
        up=bool(message["flags"] & _IFF_UP),
        isolated=bool(slave and hasattr(slave, "get_attr") and slave.get_attr("IFLA_BRPORT_ISOLATED")),
    )


def alias_of(mark: str) -> str:
    """Return the alias of the links of one banger."""
    return f"banger {mark}"


def is_our_tap(link: Link, mark: str) -> bool:
    """Tell whether a tap was made for this banger: by its alias, which one made half has not got yet."""
    half_made = link.alias is None and link.master is None and not link.up
    return link.kind == "tun" and (link.alias == alias_of(mark) or half_made)


#: Taps of the pool that this process made: name -> index, which no other link gets again, and mark.
_pooled: dict[str, tuple[int, str]] = {}


def note_pooled(tap: Link, mark: str) -> None:
    """Note a tap of the pool, so that nobody has to look whose it is when it is taken."""
    _pooled[tap.name] = (tap.index, mark)


def find_pooled(links: Links, name: str, mark: str) -> int | None:
    """Return the index of a tap of the pool that is ours."""
    if (noted := _pooled.pop(name, None)) is not None and noted[1] == mark:
        with contextlib.suppress(OSError):
            if socket.if_nametoindex(name) == noted[0]:
                return noted[0]
    link = links.find(name)
    return link.index if link is not None and link.alias == alias_of(mark) else None


def resolve_bridge(links: Links, name: str, mark: str) -> Link:
    """Return a bridge of ours; ConflictError when it is another's, NetworkError when there is none."""
    link = links.find(name)
    if link is None:
        raise NetworkError(
            f"there is no bridge {name}", hint="it is made when a VM starts: banger vm start VM"
        )
    return check_bridge(link, mark)


def check_bridge(link: Link, mark: str) -> Link:
    """Return the link when it is a bridge of ours; ConflictError else."""
    if link.alias != alias_of(mark):
        whose = "another banger's" if (link.alias or "").startswith("banger ") else "not banger's"
        raise ConflictError(f"{link.name} is there and {whose}", hint=_CHOOSE)
    return link


def make_tap(name: str, owner: int) -> None:
    """Make a persistent tap that a user may open; ConflictError when there is one of that name."""
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"/dev/net/tun: {error.strerror}", hint="sudo modprobe tun") from error
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | _IFF_TUN_EXCL
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(descriptor, _TUNSETOWNER, owner)
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno == errno.EBUSY:
            raise ConflictError(f"there is a link {name}", hint=f"see: ip link show {name}") from error
        raise HostError(f"the tap {name} cannot be made: {error.strerror}", hint="as root") from error
    finally:
        os.close(descriptor)
