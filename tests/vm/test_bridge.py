"""A VM on the bridge of a host that is a network namespace, with the internet in another."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from vmring import BOOT, Home, Ring, program, until

sys.path.insert(0, str(Path(__file__).parents[1] / "host"))

from network import Namespace, namespaces, serving

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: it makes namespaces with links between"
)

INTERNET = "192.0.2.2"
_READ = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), 20) as connection:
    print(connection.recv(100).decode())
"""
#: The same in the guest, which has no Python.
_GUEST_SERVE = """
$server = IO::Socket::INET->new(LocalPort => 7000, Listen => 5) or die;
$| = 1; print "up\\n";
while ($connection = $server->accept) { print $connection $connection->peerhost; close $connection }
"""


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A host with a way to the internet; servers that say who asks run on both."""
    with namespaces(2) as [host, internet]:
        host.sh(
            f"ip link add up0 type veth peer name eth0 netns {internet.pid}; ip addr add 192.0.2.1/24 dev up0;"
            "ip link set up0 up; echo 0 > /proc/sys/net/ipv4/ip_forward"
        )
        internet.sh(f"ip addr add {INTERNET}/24 dev eth0; ip link set eth0 up")
        with serving(host), serving(internet):
            yield host


@pytest.fixture
def bridged(ring: Ring, host: Namespace) -> Iterator[Home]:
    """The real command line and its daemon, inside that host."""
    inside = ("nsenter", f"--net=/proc/{host.pid}/ns/net", *program())
    home = Home(ring.base / f"b{host.pid % 100000}", inside, pulled=ring.pulled)
    yield home
    home.close()


@contextlib.contextmanager
def listening(home: Home, vm: str) -> Iterator[None]:
    """Let a guest answer on port 7000."""
    with home.start("vm", "exec", vm, "--", "perl", "-MIO::Socket::INET", "-e", _GUEST_SERVE) as server:
        try:
            assert server.stdout is not None and server.stdout.readline() == b"up\n"
            yield
        finally:
            server.kill()


def links(host: Namespace) -> set[str]:
    return {link["ifname"] for link in json.loads(host.run("ip", "-j", "link"))} - {"lo", "up0"}


def guests(host: Namespace) -> list[str]:
    found = json.loads(host.run("nft", "-j", "list", "set", "ip", "banger", "guests"))["nftables"]
    [members] = [entry["set"].get("elem", []) for entry in found if "set" in entry]
    return members


def test_a_vm_on_the_bridge_has_an_address_a_way_out_and_leaves_nothing(
    bridged: Home, host: Namespace
) -> None:
    bridged.ok("vm", "create", "--name", "otter", "--net", "bridge", "--wait", "agent", timeout=BOOT)
    shown = bridged.show("otter")["vm"]
    address = shown["address"]
    assert address.startswith("172.16.1") and shown["spec"]["capabilities"]["nat"] == {}
    assert guests(host) == [address]
    who = "exec 3<>/dev/tcp/{0}/8000 && cat <&3"
    assert bridged.exec("otter", "bash", "-c", who.format("172.16.176.1")).text == address
    assert bridged.exec("otter", "bash", "-c", who.format(INTERNET)).text == "192.0.2.1", "masqueraded"
    assert "default via 172.16.176.1" in bridged.sh("otter", "ip route || cat /proc/net/route")
    with listening(bridged, "otter"):
        assert host.run(sys.executable, "-c", _READ, address).strip() == "172.16.176.1", "the host reaches it"
        [port] = bridged.ok("vm", "ports", "otter", "--json").json
        assert (port["reach"], port["through"], port["endpoint"]) == ("host", "network", f"{address}:7000")

    host.sh("nft flush ruleset")
    bridged.kill_daemon()
    assert [vm["name"] for vm in bridged.vms()] == ["otter"]
    until(lambda: guests_or_none(host) == [address], 20, "the way out was not given again")
    assert bridged.exec("otter", "bash", "-c", who.format(INTERNET)).text == "192.0.2.1"
    until(lambda: "jump bgr_" in host.run("nft", "list", "ruleset"), 20, "its tap was not guarded again")

    tap = f"bgr-{shown['id'][:8]}"
    assert bridged.ok("bridge", "show", "--json").json["taps"] == [{"tap": tap, "vm": "otter"}]
    refused = bridged("bridge", "remove")
    assert refused.status == 1 and f"still has {tap}" in refused.err
    assert tap in links(host)
    bridged.ok("vm", "delete", "otter")
    left = links(host)
    assert tap not in left and "br-banger" in left
    assert all(link.startswith("bgrp-") for link in left - {"br-banger"}), "the pool is capacity"
    assert guests(host) == []
    bridged.ok("bridge", "remove")
    assert links(host) == set() and host.run("nft", "list", "ruleset") == ""


def guests_or_none(host: Namespace) -> list[str]:
    return guests(host) if "banger" in host.run("nft", "list", "tables") else []
