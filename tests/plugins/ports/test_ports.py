"""Ports of running VMs: the service and a real agent, which stands for a guest on this host."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banger.model.vm import PublishedPort, VmState
from banger.testing.pytest_plugin import RunCli
from banger_ports.listeners import LIMIT, find_open
from banger_ports.relay import _CONNECTIONS, host_port


@pytest.mark.parametrize(
    ("address", "opens"),
    [
        ("0.0.0.0", True),
        ("127.0.0.1", True),
        ("0:0:0:0:0:0:0:0", True),
        ("0:0:0:0:0:0:0:1", True),
        ("0:0:0:0:0:ffff:7f00:1", True),
        ("127.0.0.53", False),
        ("10.0.2.15", False),
        ("nonsense", False),
        (None, False),
    ],
)
def test_what_the_agent_reaches_opens(address: object, opens: bool) -> None:
    said = [{"port": 8080, "address": address, "protocol": "tcp"}]
    assert find_open(said, ()) == ({8080} if opens else set())


def test_what_a_guest_says_is_bounded() -> None:
    many = [{"port": port, "address": "0.0.0.0", "protocol": "tcp"} for port in range(65535, 0, -1)]
    found = find_open(many, (PublishedPort(host=9000, guest=1),))
    assert len(found) == LIMIT
    assert not found & {1, 22} and max(found) < 100
    for nonsense in (
        None,
        {},
        "x",
        [None, 1, "x", {}, {"port": True}, {"port": 80, "address": "::", "protocol": "udp"}],
    ):
        assert find_open(nonsense, ()) == set()


def test_low_ports_appear_higher() -> None:
    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    assert host_port(max(limit, 8080)) == max(limit, 8080)
    if limit > 80:
        assert host_port(80) == 20080


def talk(host: int, data: bytes) -> bytes:
    with socket.create_connection(("127.88.17.5", host), timeout=30) as connection:
        threading.Thread(
            target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR))
        ).start()
        answer = bytearray()
        while piece := connection.recv(65536):
            answer += piece
    return bytes(answer)


def test_what_a_guest_opens_opens_here_and_closes_with_it(boot: Callable[..., Any], run_cli: RunCli) -> None:
    guest = boot(**{"auto-ports": {}})
    guest.wait_ports({guest.port})
    [port] = guest.ports()
    assert (port["address"], port["through"]) == ("127.88.17.5", "agent")
    assert talk(guest.port, b"hello") == b"hello"
    much = bytes(range(256)) * 8192
    assert talk(guest.port, much) == much
    shown = json.loads(run_cli("vm", "ports", "otter", "--no-probe", "--json").stdout)
    [found] = [each for each in shown if each["port"] == guest.port]
    assert (found["reach"], found["through"]) == ("host", "agent")
    assert found["endpoint"] == f"127.88.17.5:{guest.port}"
    assert (
        f"127.88.17.5:{guest.port} (by the agent, from {guest.port})"
        in run_cli("vm", "ports", "otter").stdout
    )
    assert "opened by the guest" in run_cli("vm", "port", "list", "otter").stdout
    guest.server.shutdown(socket.SHUT_RDWR)
    guest.server.close()
    guest.wait_ports(set())
    lines = [json.loads(line) for line in run_cli("vm", "events", "--json").stdout.splitlines()]
    ours = [(each["event"], each["endpoint"]) for each in lines if each.get("guest") == str(guest.port)]
    where = f"127.88.17.5:{guest.port}"
    assert ours == [("port-opened", where), ("port-closed", where)]


def test_a_port_is_added_to_a_running_vm_and_taken_away(boot: Callable[..., Any], run_cli: RunCli) -> None:
    guest = boot()
    assert guest.ports() == []
    added = run_cli("vm", "port", "add", "otter", f"29876:{guest.port}")
    assert added.status == 0, added.stderr
    assert added.stdout == f"otter publishes 29876->{guest.port}\n"
    assert "next start" not in added.stderr
    guest.wait_ports({29876})
    assert talk(29876, b"hello") == b"hello"
    assert "next start" not in run_cli("vm", "show", "otter").stdout
    [listed] = json.loads(run_cli("vm", "port", "list", "otter", "--json").stdout)
    assert (listed["host"], listed["published"]) == (29876, True)
    assert run_cli("vm", "port", "remove", "otter", str(guest.port)).stdout == "otter publishes nothing\n"
    guest.wait_ports(set())
    assert "no port of otter is open" in run_cli("vm", "port", "list", "otter").stderr


def test_clients_that_break_off_leave_nothing_open(boot: Callable[..., Any], run_cli: RunCli) -> None:
    guest = boot()
    assert run_cli("vm", "port", "add", "otter", f"29878:{guest.port}").status == 0
    guest.wait_ports({29878})
    for _ in range(_CONNECTIONS + 8):  # more than a port has at a time, each ended by a reset
        with socket.create_connection(("127.88.17.5", 29878), timeout=30) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert talk(29878, b"hello") == b"hello"


def test_a_port_that_is_taken_here_is_left_alone(boot: Callable[..., Any], run_cli: RunCli) -> None:
    guest = boot()
    with socket.create_server(("127.88.17.5", 0)) as other:
        taken = other.getsockname()[1]
        assert run_cli("vm", "port", "add", "otter", f"{taken}:{guest.port}").status == 0
        assert run_cli("vm", "port", "add", "otter", f"29877:{guest.port}").status == 0
        guest.wait_ports({29877})
    assert talk(29877, b"hello") == b"hello"


def test_a_vm_that_is_down_has_no_open_ports(boot: Callable[..., Any]) -> None:
    guest = boot(**{"auto-ports": {}})
    guest.wait_ports({guest.port})
    guest.app.services.database.update_vm(guest.vm.model_copy(update={"state": VmState.STOPPED}))
    guest.wait_ports(set())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.88.17.5", guest.port), timeout=10)
