"""Real packets through a host: guests on one side, the internet on the other, a namespace each."""

from __future__ import annotations

import contextlib
import sys

import pytest
from network import Namespace, namespaces, serving
from seams import ByProcess

from tests.rings import IN_USER_NAMESPACE

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(IN_USER_NAMESPACE, reason="needs the host's own root: taps, and files given away"),
]

BRIDGE = {"bridge": "br-banger", "mark": "0123abcd"}
GUEST, OTHER, INTERNET = "172.16.176.2", "172.16.176.3", "192.0.2.2"
_ASK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[2], 8000), float(sys.argv[3]), (sys.argv[1], 0)) as connection:
        print(connection.recv(100).decode())
except OSError:
    print("no answer")
"""


def ask(where: Namespace, source: str, target: str, *, patience: float = 20) -> str:
    """Connect from an address; return the address that the other side saw, or ``no answer``."""
    return where.run(sys.executable, "-c", _ASK, source, target, str(patience)).strip()


def test_guests_reach_the_internet_masqueraded_and_nobody_else_does() -> None:
    with contextlib.ExitStack() as running:
        host, guests, internet = running.enter_context(namespaces(3))
        seam = ByProcess(host)
        running.callback(seam.close)
        host.sh(
            f"ip link add up0 type veth peer name eth0 netns {internet.pid}; ip addr add 192.0.2.1/24 dev up0;"
            f"ip link set up0 up; ip link add port type veth peer name eth0 netns {guests.pid}"
        )
        internet.sh(f"ip addr add {INTERNET}/24 dev eth0; ip link set eth0 up")
        guests.sh(f"ip addr add {GUEST}/20 dev eth0; ip addr add {OTHER}/20 dev eth0; ip link set eth0 up")
        seam.call("bridge.ensure", {**BRIDGE, "address": "172.16.176.1", "prefix": 20})
        host.sh("ip link set port master br-banger up")
        guests.sh("ip route add default via 172.16.176.1")
        for where in (host, guests, internet):
            running.enter_context(serving(where))

        assert ask(guests, GUEST, "172.16.176.1") == GUEST, "guests reach the host"
        assert ask(host, "172.16.176.1", GUEST) == "172.16.176.1", "and the host them"
        host.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")
        internet.sh("ip route add 172.16.176.0/20 via 192.0.2.1")
        assert ask(guests, GUEST, INTERNET, patience=1) == "no answer", "without nat there is no way out"
        host.sh("echo 0 > /proc/sys/net/ipv4/ip_forward")

        seam.call("nat.allow", {**BRIDGE, "addresses": [GUEST], "only": False})
        assert ask(guests, GUEST, INTERNET) == "192.0.2.1", "masqueraded: the internet sees the host"
        assert ask(guests, OTHER, INTERNET, patience=1) == "no answer", "the others still have none"
        assert ask(internet, INTERNET, GUEST, patience=1) == "no answer", "nobody comes in"

        host.sh(
            "nft add table ip f; nft 'add chain ip f f { type filter hook forward priority 0; policy drop; }'"
        )
        assert ask(guests, GUEST, INTERNET, patience=1) == "no answer"
        [blocker] = seam.call("nat.show", BRIDGE)["blockers"]
        assert blocker == {"table": "ip f", "chain": "f", "hook": "forward", "who": ""}
        host.sh("nft delete table ip f")

        seam.call("nat.deny", {**BRIDGE, "address": GUEST})
        assert ask(guests, GUEST, INTERNET, patience=1) == "no answer"
        assert host.run("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"

        seam.call("nat.allow", {**BRIDGE, "addresses": [GUEST], "only": False})
        host.sh("nft flush ruleset")
        seam.call("nat.allow", {**BRIDGE, "addresses": [GUEST], "only": True})
        assert ask(guests, GUEST, INTERNET) == "192.0.2.1", "as after a firewall was loaded anew"


def test_a_guest_passes_for_nobody_else() -> None:
    tap = {**BRIDGE, "tap": "bgr-00000001"}
    with contextlib.ExitStack() as running:
        host, guest = running.enter_context(namespaces(2))
        seam = ByProcess(host)
        running.callback(seam.close)
        seam.call("bridge.ensure", {**BRIDGE, "address": "172.16.176.1", "prefix": 20})
        seam.call("tap.create", {**tap, "isolated": False})
        seam.call("tap.guard", {**tap, "mac": "02:00:00:00:00:01", "address": GUEST})
        assert seam.call("tap.remove", tap) == {"removed": True}
        assert "bgr_00000001" not in host.run("nft", "list", "ruleset"), "the guard goes with its tap"
        seam.call("tap.create", {**tap, "isolated": False})
        seam.call("tap.guard", {**tap, "mac": "02:00:00:00:00:01", "address": GUEST})
        host.sh(
            "ip link del bgr-00000001;"
            f"ip link add bgr-00000001 type veth peer name eth0 netns {guest.pid};"
            "ip link set bgr-00000001 master br-banger up"
        )
        guest.sh(
            f"ip link set eth0 address 02:00:00:00:00:01 up; ip addr add {GUEST}/20 dev eth0;"
            f"ip addr add {OTHER}/20 dev eth0"
        )
        running.enter_context(serving(host))
        assert ask(guest, GUEST, "172.16.176.1") == GUEST
        assert ask(guest, OTHER, "172.16.176.1", patience=1) == "no answer", "another address"
        guest.sh("ip link set eth0 address 02:00:00:00:00:02")
        assert ask(guest, GUEST, "172.16.176.1", patience=1) == "no answer", "another MAC"
        guest.sh("ip link set eth0 address 02:00:00:00:00:01")
        assert ask(guest, GUEST, "172.16.176.1") == GUEST
