"""The root helper's operations on real links and nftables, in a network namespace: by its socket, and in-process."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from network import namespaces
from seams import ByProcess, BySocket, Seam

from banger.helper.requests import fields_of, parse_request
from tests.core.helper.contract import check_contract
from tests.rings import IN_USER_NAMESPACE

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(IN_USER_NAMESPACE, reason="needs the host's own root: taps, and files given away"),
]

BRIDGE = {"bridge": "br-banger", "mark": "0123abcd"}
OTHER = {"bridge": "br-banger", "mark": "ffffffff"}
NETWORK = {**BRIDGE, "address": "172.16.176.1", "prefix": 20}
VM, POOLED = "bgr-00000001", "bgrp-00000001"


@pytest.fixture(scope="module")
def process() -> Iterator[Seam]:
    """Requests done by a process of root's itself."""
    with namespaces(1) as [where]:
        made = ByProcess(where)
        yield made
        made.close()


@pytest.fixture(scope="module")
def helper() -> Iterator[Seam]:
    """Requests done by a helper, over its socket."""
    with namespaces(1) as [where], tempfile.TemporaryDirectory() as folder:
        made = BySocket(where, Path(folder))
        yield made
        made.close()


@pytest.fixture
def seam(request: pytest.FixtureRequest) -> Seam:
    """What a test is about either way is done one way; the tests that differ ask for both."""
    found: Seam = request.getfixturevalue(getattr(request, "param", "process"))
    return found


both = pytest.mark.parametrize("seam", ["process", "helper"], indirect=True)


@pytest.fixture(autouse=True)
def clean(seam: Seam) -> Iterator[None]:
    yield
    for tap in [link for link in seam.links() if link.startswith("bgr")]:
        seam.where.run("ip", "link", "del", tap)
    seam.where.sh("ip link del br-banger 2>/dev/null || true; nft flush ruleset")
    assert seam.links() == {"lo"}


@both
def test_the_contract_is_kept(seam: Seam) -> None:
    check_contract(lambda request: seam.call(request.operation, fields_of(request)))


def test_a_bridge_is_made_mended_and_removed(seam: Seam) -> None:
    assert seam.call("bridge.ensure", NETWORK) == {"made": True}
    state = seam.state()
    assert seam.call("bridge.ensure", NETWORK) == {"made": False}
    assert seam.state() == state, "a second time changes nothing"
    seam.where.sh("ip addr flush dev br-banger; ip link set br-banger down; nft flush ruleset")
    seam.call("bridge.ensure", NETWORK)
    assert seam.state() == state
    shown = seam.call("bridge.show", BRIDGE)
    assert shown == {
        "exists": True,
        "address": "172.16.176.1/20",
        "taps": [],
        "pool": [],
        "isolated_pool": [],
    }
    assert seam.call("bridge.remove", BRIDGE) == {"removed": True}
    assert seam.call("bridge.remove", BRIDGE) == {"removed": False}
    assert seam.links() == {"lo"} and seam.where.run("nft", "list", "ruleset") == ""


def test_an_empty_bridge_gets_another_network_one_with_vms_does_not(seam: Seam) -> None:
    seam.call("bridge.ensure", NETWORK)
    seam.call("bridge.ensure", {**NETWORK, "address": "10.213.0.1"})
    assert seam.call("bridge.show", BRIDGE)["address"] == "10.213.0.1/20"
    seam.call("tap.create", {**BRIDGE, "tap": VM, "isolated": False})
    said = seam.refused("bridge.ensure", NETWORK)
    assert said == "br-banger has 10.213.0.1/20, and 1 taps of VMs are in it"
    assert "still has bgr-00000001" in seam.refused("bridge.remove", BRIDGE)


def test_a_network_in_use_is_refused_with_what_uses_it(seam: Seam) -> None:
    seam.where.sh("ip link add up0 type bridge; ip addr add 172.16.180.9/24 dev up0; ip link set up0 up")
    try:
        said = seam.refused("bridge.ensure", NETWORK)
        assert said == "172.16.176.0/20 is in use on this host: 172.16.180.9/24 of up0"
        seam.where.sh("ip addr flush dev up0; ip route add 172.16.0.0/12 dev up0")
        said = seam.refused("bridge.ensure", NETWORK)
        assert said == "172.16.176.0/20 is in use on this host: the route to 172.16.0.0/12 by up0"
        seam.where.sh("ip route flush dev up0; ip route add default dev up0")
        seam.call("bridge.ensure", NETWORK)
    finally:
        seam.where.run("ip", "link", "del", "up0")


@pytest.mark.parametrize("alias", ["", "somebody", "banger ffffffff"])
def test_what_others_made_is_left_alone(seam: Seam, alias: str) -> None:
    seam.where.sh("ip link add br-banger type bridge; ip tuntap add bgr-00000001 mode tap")
    if alias:
        seam.where.sh(f"ip link set br-banger alias '{alias}'; ip link set bgr-00000001 alias '{alias}'")
    else:
        seam.where.sh("ip link set bgr-00000001 up")
    whose = "another banger's" if alias.startswith("banger") else "not banger's"
    for operation in ("bridge.ensure", "bridge.remove", "bridge.show"):
        said = seam.refused(operation, NETWORK if operation == "bridge.ensure" else BRIDGE)
        assert said == f"br-banger is there and {whose}"
    assert "was not made by this banger" in seam.refused("tap.remove", {**BRIDGE, "tap": VM})
    assert "br-banger is there" in seam.refused("tap.create", {**BRIDGE, "tap": VM, "isolated": False})
    said = seam.refused("nat.allow", {**BRIDGE, "addresses": ["172.16.176.2"], "only": False})
    assert "br-banger is there" in said


@both
def test_a_tap_is_the_owners_and_goes(seam: Seam) -> None:
    seam.call("bridge.ensure", NETWORK)
    tap = {**BRIDGE, "tap": VM, "isolated": True}
    assert seam.call("tap.create", tap) == {"made": True}
    state = seam.state()
    assert seam.call("tap.create", tap) == {"made": False}
    assert seam.state() == state
    [shown] = json.loads(seam.where.run("ip", "-d", "-j", "link", "show", VM))
    data = shown["linkinfo"]["info_data"]
    assert (shown["master"], shown["ifalias"]) == ("br-banger", "banger 0123abcd")
    assert data["persist"] is True and data["vnet_hdr"] is True
    owner = os.geteuid() if isinstance(seam, ByProcess) else BySocket.OWNER
    assert str(data["user"]) in (str(owner), "root", "nobody")
    assert shown["linkinfo"]["info_slave_data"]["isolated"] is True
    assert seam.call("bridge.show", BRIDGE)["taps"] == [VM]
    assert "was not made by this banger" in seam.refused("tap.remove", {**OTHER, "tap": VM})
    assert seam.call("tap.remove", {**BRIDGE, "tap": VM}) == {"removed": True}
    assert seam.call("tap.remove", {**BRIDGE, "tap": VM}) == {"removed": False}


#: Attaches to a tap as QEMU does, as another user than root.
_ATTACH = """
import fcntl, os, struct, sys
tap = os.open("/dev/net/tun", os.O_RDWR)  # which everybody may, but not in every container
os.setgroups([]); os.setgid(65534); os.setuid(int(sys.argv[2]))
try:
    fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x0002 | 0x1000 | 0x4000))
except OSError as error:
    sys.exit(error.strerror)
print("attached")
"""


@pytest.mark.parametrize("seam", ["helper"], indirect=True)
def test_the_owner_opens_its_tap_without_privilege_and_nobody_else_does(seam: Seam) -> None:
    seam.call("bridge.ensure", NETWORK)
    seam.call("tap.create", {**BRIDGE, "tap": POOLED, "isolated": False})
    seam.call("tap.claim", {**BRIDGE, "tap": VM, "pooled": POOLED})
    said = [
        seam.where.run("/usr/bin/python3", "-c", _ATTACH, VM, str(uid), check=False).strip()
        for uid in (BySocket.OWNER, 65533)
    ]
    assert said == ["attached", ""]


def test_a_tap_made_half_is_made_good(seam: Seam) -> None:
    seam.call("bridge.ensure", NETWORK)
    seam.where.sh("ip tuntap add bgr-00000001 mode tap")
    assert seam.call("tap.create", {**BRIDGE, "tap": VM, "isolated": False}) == {"made": False}
    assert seam.call("bridge.show", BRIDGE)["taps"] == [VM]


def test_a_tap_of_the_pool_becomes_a_vms(seam: Seam) -> None:
    seam.call("bridge.ensure", NETWORK)
    seam.call("tap.create", {**BRIDGE, "tap": POOLED, "isolated": True})
    shown = seam.call("bridge.show", BRIDGE)
    assert (shown["taps"], shown["pool"], shown["isolated_pool"]) == ([], [], [POOLED])
    claim = {**BRIDGE, "tap": VM, "pooled": POOLED}
    assert "not in the pool" in seam.refused("tap.claim", {**claim, **OTHER})
    seam.call("tap.claim", claim)
    shown = seam.call("bridge.show", BRIDGE)
    assert (shown["taps"], shown["isolated_pool"]) == ([VM], [])
    assert '"UP"' in seam.where.run("ip", "-j", "link", "show", VM)
    assert "not in the pool any more" in seam.refused("tap.claim", claim)
    seam.call("tap.create", {**BRIDGE, "tap": "bgrp-00000002", "isolated": False})
    seam.call("tap.remove", {**BRIDGE, "tap": VM})
    seam.call("bridge.remove", BRIDGE)
    assert seam.links() == {"lo"}, "the pool goes with its bridge"


def test_guests_get_a_way_out_one_by_one_and_all_at_once(seam: Seam) -> None:
    seam.where.sh("echo 0 > /proc/sys/net/ipv4/ip_forward; nft add table ip others")
    seam.call("bridge.ensure", NETWORK)
    for address in ("172.16.176.2", "172.16.176.3", "172.16.176.3"):
        seam.call("nat.allow", {**BRIDGE, "addresses": [address], "only": False})
    shown = seam.call("nat.show", BRIDGE)
    assert shown == {"guests": ["172.16.176.2", "172.16.176.3"], "forwarding": True, "blockers": []}
    seam.call("bridge.ensure", NETWORK)
    assert seam.call("nat.show", BRIDGE) == shown, "mending the fence takes nobody's way out"
    seam.where.sh("nft delete table ip banger")
    seam.call("nat.allow", {**BRIDGE, "addresses": ["172.16.176.7"], "only": True})
    assert seam.call("nat.show", BRIDGE)["guests"] == ["172.16.176.7"]
    for address in ("172.16.176.1", "172.16.192.2", "8.8.8.8"):
        said = seam.refused("nat.allow", {**BRIDGE, "addresses": [address], "only": False})
        assert said == f"{address} is no guest's address of br-banger"
    assert seam.call("nat.deny", {**BRIDGE, "address": "172.16.176.7"}) == {"removed": True}
    assert seam.call("nat.deny", {**BRIDGE, "address": "172.16.176.7"}) == {"removed": False}
    assert "table ip others" in seam.where.run("nft", "list", "ruleset")
    seam.call("bridge.remove", BRIDGE)
    assert seam.call("nat.deny", {**BRIDGE, "address": "172.16.176.7"}) == {"removed": False}
    assert seam.where.run("nft", "list", "ruleset") == "table ip others {\n}\n"


def forwarding(seam: Seam) -> str:
    return seam.where.run("cat", "/proc/sys/net/ipv4/ip_forward").strip()


def test_forwarding_is_as_before_after_the_last_guest(seam: Seam) -> None:
    allow = {**BRIDGE, "addresses": ["172.16.176.2", "172.16.176.3"], "only": False}
    seam.call("bridge.ensure", NETWORK)
    for before in "01":
        seam.where.sh(f"echo {before} > /proc/sys/net/ipv4/ip_forward")
        seam.call("nat.allow", allow)
        seam.call("nat.allow", allow)
        assert forwarding(seam) == "1"
        seam.call("nat.deny", {**BRIDGE, "address": "172.16.176.2"})
        assert forwarding(seam) == "1"
        seam.call("nat.deny", {**BRIDGE, "address": "172.16.176.3"})
        assert forwarding(seam) == before
    seam.where.sh("echo 0 > /proc/sys/net/ipv4/ip_forward")
    seam.call("nat.allow", allow)
    seam.call("nat.allow", {**BRIDGE, "addresses": [], "only": True})
    assert forwarding(seam) == "0"
    seam.call("nat.allow", allow)
    seam.where.sh(
        "nft add table ip docker; nft 'add chain ip docker F { type filter hook forward priority 0; }'"
    )
    seam.call("nat.allow", {**BRIDGE, "addresses": [], "only": True})
    assert forwarding(seam) == "1", "somebody else forwards by now"


def test_a_firewall_that_drops_is_named_unless_it_knows_the_bridge(seam: Seam) -> None:
    seam.call("bridge.ensure", NETWORK)
    seam.where.sh("iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER")
    found = seam.call("nat.show", BRIDGE)["blockers"]
    assert found == [{"table": "ip filter", "chain": "FORWARD", "hook": "forward", "who": "docker"}]
    seam.where.sh(
        "iptables -I DOCKER-USER -i br-banger -j ACCEPT; iptables -I DOCKER-USER -o br-banger -j ACCEPT"
    )
    assert seam.call("nat.show", BRIDGE)["blockers"] == []
    seam.where.sh(
        "nft add table inet firewalld; nft 'add chain inet firewalld f { type filter hook forward priority 10; }'"
    )
    found = seam.call("nat.show", BRIDGE)["blockers"]
    assert found == [{"table": "inet firewalld", "chain": "f", "hook": "forward", "who": "firewalld"}]


def test_a_firewall_that_lets_nothing_in_is_named_although_it_forwards_for_the_bridge(seam: Seam) -> None:
    seam.call("bridge.ensure", NETWORK)
    seam.where.sh("iptables -A FORWARD -i br-banger -j ACCEPT; iptables -P INPUT DROP")
    seam.where.sh(
        "iptables -N ufw-user-forward; iptables -N ufw-user-input; iptables -A INPUT -j ufw-user-input"
    )
    found = seam.call("nat.show", BRIDGE)["blockers"]
    assert found == [{"table": "ip filter", "chain": "INPUT", "hook": "input", "who": "ufw"}]
    seam.where.sh("iptables -A ufw-user-input -i br-banger -p udp --dport 42069 -j ACCEPT")
    assert seam.call("nat.show", BRIDGE)["blockers"] == []


@pytest.mark.parametrize("seam", ["helper"], indirect=True)
def test_every_call_to_the_helper_is_in_its_log(seam: Seam) -> None:
    assert isinstance(seam, BySocket)
    seam.call("bridge.show", BRIDGE)
    seam.refused("bridge.remove", {**OTHER}) if seam.call("bridge.ensure", NETWORK) else None
    [shown, made, refused] = seam.lines()[-3:]
    assert (shown["op"], made["op"], refused["op"]) == ("bridge.show", "bridge.ensure", "bridge.remove")
    assert made["fields"] == fields_of(parse_request("bridge.ensure", NETWORK)) and made["status"] == 200
    assert refused["status"] == 409 and "another banger's" in refused["detail"]
    assert all(line["uid"] == os.getuid() and line["ms"] >= 0 for line in (shown, made, refused))
