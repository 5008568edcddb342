"""Scenarios of system mode that lead out of a VM: bridge, way out, names, ports, ssh; and the host that boots again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.smoke.smokehost import ANSWERS, Host

pytestmark = [pytest.mark.smoke, pytest.mark.usefixtures("installed")]
#: Answers whoever connects with the address that the connection seems to come from.
_INTERNET = """
import socket
with socket.create_server(("192.0.2.2", 8000)) as server:
    while True:
        connection, peer = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + peer[0].encode())
"""
#: Traces of a VM that runs.
_OF_A_VM = re.compile("link bgr-|process .*(qemu-system|firecracker )|dm |loop ")
_ASK = "curl --silent --retry 20 --retry-delay 1 --retry-connrefused --max-time 120 http://192.0.2.2:8000/"


def bridge(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.ok("banger bridge show --json"))
    return found


@pytest.fixture
def internet(smoke: Host, one: str) -> Iterator[None]:
    """A second namespace of the host's, beyond a link of its own."""
    smoke.ok("cat > /opt/internet.py <<'END'\n" + _INTERNET + "END", user="root")
    smoke.ok(
        "ip netns add internet; ip link add up0 type veth peer name eth0 netns internet;"
        "ip addr add 192.0.2.1/24 dev up0; ip link set up0 up;"
        "ip -n internet addr add 192.0.2.2/24 dev eth0; ip -n internet link set eth0 up;"
        "systemd-run --quiet --unit internet ip netns exec internet python3 /opt/internet.py",
        user="root",
    )
    yield
    smoke.ok(
        "systemctl stop internet; ip link delete up0; ip netns delete internet; rm /opt/internet.py",
        user="root",
    )


def test_bridge_and_pool(host: Host, one: str) -> None:
    """A VM has an address and a tap of its own on the bridge, and taps wait for the next ones."""
    address = host.shown("one")["address"]
    host.ok(f"ping -c 1 -W 20 {address}", user="root")
    before = bridge(host)
    assert before["exists"] and [tap["vm"] for tap in before["taps"]] == ["one"]
    assert address in before["leads_out"]
    host.ok(
        "timeout 300 sh -c 'until test \"$(banger bridge show --json | grep -o bgrp- | wc -l)\" = 2; do sleep 1; done'"
    )
    ready = set(bridge(host)["ready"])
    host.have_vm("two")
    taken = ready - set(bridge(host)["ready"])
    assert len(taken) == 1, "its tap is one that waited"
    host.ok("banger vm delete --force two")
    assert [tap["vm"] for tap in bridge(host)["taps"]] == ["one"]


def test_names(host: Host, one: str) -> None:
    """The host finds a VM by name, by the bridge's link alone; VMs find each other; and both forget it."""
    address = host.shown("one")["address"]
    link = host.ok("resolvectl status br-banger")
    assert "~vm" in link and "+DefaultRoute" not in link, link
    assert address in host.ok("resolvectl query --legend=no one.vm")
    host.have_vm("two")
    other = host.shown("two")["address"]
    assert host.ok("banger vm exec one -- getent ahostsv4 two.vm").split()[0] == other
    assert host.ok("banger vm exec two -- getent ahostsv4 one.vm").split()[0] == address
    host.ok("banger vm delete --force two")
    assert host("banger vm exec one -- getent ahostsv4 two.vm").status == 2
    doctor = json.loads(host("banger doctor --json").out)
    checks = {check["name"]: check["status"] for check in doctor["checks"]}
    assert (checks["bridge"], checks["nat"]) == ("PASS", "PASS")


def test_nat(host: Host, one: str, internet: None) -> None:
    """What a VM sends to a second namespace comes from the host; nobody there comes in."""
    assert host.ok(f"banger vm exec one -- {_ASK}") == "192.0.2.1"
    address = host.shown("one")["address"]
    host.ok(f"ip -n internet route add {address} via 192.0.2.1", user="root")
    assert host(f"ip netns exec internet ping -c 1 -W 3 {address}", user="root").status == 1


def test_set(host: Host, one: str) -> None:
    """What is set counts from the next start; without nat there is no way out, and the host does not forward."""
    host.ok("banger vm set one --memory 320M --without nat && banger vm stop one")
    host.have_vm("one")
    total = int(host.ok("banger vm exec one -- awk '/^MemTotal/ {print $2}' /proc/meminfo"))
    assert 256 * 1024 < total <= 320 * 1024
    assert bridge(host)["leads_out"] == []
    assert host.ok("cat /proc/sys/net/ipv4/ip_forward") == "0"
    host.ok("banger vm set one --memory 256M --with nat && banger vm stop one")
    host.have_vm("one")
    assert bridge(host)["leads_out"] == [host.shown("one")["address"]]


def test_ports(host: Host, one: str) -> None:
    """What a guest listens on is at its own address, and shown."""
    host.ok(
        "banger vm exec one -- systemd-run --quiet --unit web "
        "systemd-socket-activate --listen 8000 --accept --inetd hostname"
    )
    address = host.shown("one")["address"]
    ask = f"timeout 20 cat < /dev/tcp/{address}/8000"
    assert host.ok(f"timeout 300 bash -c 'until {ask} 2> /dev/null; do sleep 1; done'") == "one"
    ports = json.loads(host.ok("banger vm ports one --no-probe --json"))
    assert 8000 in [port["port"] for port in ports], ports
    host.ok("banger vm exec one -- systemctl stop web")


def test_ssh_by_name(host: Host, one: str) -> None:
    """Every ssh program of the owner's reaches a VM by name."""
    host.ok("banger ssh-config --install")
    done = host("ssh one.vm 'hostname; exit 3'")
    assert (done.status, done.text) == (3, "one"), done.err
    host.ok("banger ssh-config --uninstall && ! grep --quiet banger ~/.ssh/config 2> /dev/null")


def test_workspace(host: Host) -> None:
    """A repository goes into a VM, and what was committed there comes out."""
    host.have_vm("two")
    host.ok(
        "git init -q -b main ~/project && cd ~/project && git config user.name A && git config user.email a@example.org"
        " && echo one > notes && git add notes && git commit -q -m first && banger vm workspace prepare two ."
    )
    commit = "git -c user.name=G -c user.email=g@example.org commit -q -a -m second"
    host.ok(f"banger vm exec two -- sh -c 'cd /root/repo && echo two >> notes && {commit}'")
    host.ok("cd ~/project && banger vm workspace pull two .")
    assert host.ok("git -C ~/project show banger/two/main:notes").split() == ["one", "two"]
    host.ok("rm -r ~/project; banger vm delete --force two")


def test_host_reboot(host: Host, one: str) -> None:
    """After the host booted again its VMs are stopped, nothing of them is left, and they start."""
    host.ok("banger vm exec one -- sh -c 'echo kept > /root/kept; sync'")
    host.reboot()
    host.ok("modprobe kvm-amd", user="root")
    host.ok(ANSWERS)
    assert host.shown("one")["state"] == "stopped"
    assert not [line for line in host.traces() if _OF_A_VM.match(line)]
    host.have_vm("one")
    assert host.ok("banger vm exec one -- cat /root/kept") == "kept"
