"""A VM's life: start, stop, kill, delete, ends it finds by itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from vmring import Home, finish, until


def _state(banger: Home, name: str) -> str:
    return str(banger.show(name)["vm"]["state"])


def test_stop_keeps_the_disks_and_start_brings_them_back(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "keeper", "--wait", "agent")
    alone.sh("keeper", "echo work > /root/kept; echo root > /kept; sync")
    alone.ok("vm", "stop", "keeper")
    assert _state(alone, "keeper") == "stopped"
    assert alone.qemus() == []
    refused = alone.exec("keeper", "true")
    assert refused.status == 1
    assert "hint: banger vm start keeper" in refused.err
    alone.ok("vm", "start", "keeper", "--wait", "agent")
    assert alone.sh("keeper", "cat /root/kept /kept") == "work\nroot"
    alone.ok("vm", "kill", "keeper")
    assert _state(alone, "keeper") == "stopped"
    alone.ok("vm", "start", "keeper", "--wait", "agent")
    assert alone.sh("keeper", "cat /root/kept /kept") == "work\nroot"
    alone.ok("vm", "delete", "keeper")
    alone.assert_clean()


def test_stop_is_a_clean_power_off(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "clean")
    before = alone.show("clean")["vm"]["timings"]["total"]
    assert before > 0
    alone.ok("vm", "stop", "clean")
    alone.ok("vm", "start", "clean", "--wait", "agent")
    # without a clean unmount ext4 would have replayed its journal
    assert "recovery complete" not in alone.sh("clean", "dmesg")


@pytest.mark.long
def test_stop_of_a_guest_whose_init_has_just_begun(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "early", "--wait", "agent")
    alone.ok("vm", "stop", "early", "--timeout", "90")
    assert "reboot: Power down" in alone.ok("vm", "logs", "early").text


def test_a_guest_that_powers_off_is_stopped(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "leaver", "--wait", "agent")
    alone.exec("leaver", "poweroff", "-ff")
    until(lambda: _state(alone, "leaver") == "stopped", 60, "the end was not noticed")
    assert alone.qemus() == []
    assert alone.show("leaver")["holds"] == []
    alone.ok("vm", "start", "leaver", "--wait", "agent")
    assert alone.sh("leaver", "echo back") == "back"


def test_a_vmm_that_is_killed_is_noticed(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "victim", "--wait", "agent")
    process = alone.start("vm", "exec", "victim", "--", "sleep", "600")
    (pid,) = alone.qemus()
    os.kill(pid, signal.SIGKILL)
    result = finish(process, timeout=30)
    assert result.status not in (0, 130)
    assert "Traceback" not in result.err
    until(lambda: _state(alone, "victim") == "stopped", 30, "the end was not noticed")
    assert alone.show("victim")["holds"] == []
    assert list((alone.state / "s").glob("*/agent")) == []


def test_delete_of_a_running_vm_leaves_nothing(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "gone", "--wait", "agent")
    assert len(alone.qemus()) == 1
    alone.ok("vm", "delete", "gone")
    alone.assert_clean()
    assert alone("vm", "delete", "gone").status == 1


def test_two_vms_at_once_and_two_creates_of_one_name(alone: Home) -> None:
    pair = [alone.start("vm", "create", "--name", "twin", "--wait", "agent") for _ in range(2)]
    other = alone.start("vm", "create", "--name", "other", "--wait", "agent")
    results = sorted((finish(process) for process in pair), key=lambda result: result.status)
    assert finish(other).status == 0
    assert [result.status for result in results] == [0, 1]
    assert "a VM called 'twin' exists" in results[1].err
    assert "hint: " in results[1].err
    assert len(alone.qemus()) == 2
    assert alone.sh("twin", "hostname") == "twin"
    assert alone.sh("other", "hostname") == "other"
    addresses = {vm["address"] for vm in alone.vms()}
    assert len(addresses) == 2
    assert all(address.startswith("127.") for address in addresses)


def test_published_ports_lead_into_the_guest(alone: Home) -> None:
    ports = ("-p", "8080", "-p", "80", "-p", "9000:8080")
    created = alone.ok("vm", "create", "--name", "web", *ports, "--wait", "agent")
    address = alone.show("web")["vm"]["address"]
    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    low = 80 if limit <= 80 else 20080
    assert f"published {address}:{low} -> 80" in created.err
    # the image has neither an interpreter nor netcat: sshd listens where it is told to, and greets at once
    key = "ssh-keygen -q -t ed25519 -N '' -f /var/tmp/key && mkdir -p /run/sshd"
    alone.sh("web", f"{key} && for port in 80 8080; do /usr/sbin/sshd -h /var/tmp/key -p $port; done")
    for port in (8080, low, 9000):
        until(lambda port=port: _greeting(address, port), 30, f"nothing answers at {address}:{port}")


def _greeting(address: str, port: int) -> bytes:
    try:
        with socket.create_connection((address, port), 5) as connection:
            connection.settimeout(5)
            return connection.recv(32)
    except OSError:
        return b""


def test_a_taken_port_is_refused_and_nothing_stays(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "first", "--no-start")
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = alone("vm", "run", "--rm", "-p", str(port), "--", "true")
    assert result.status == 1
    assert f":{port} is taken" in result.err
    assert [vm["name"] for vm in alone.vms()] == ["first"]


def test_the_process_list_names_the_vm(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "visible", "--wait", "agent")
    pid = alone.show("visible")["pid"]
    line = subprocess.run(
        ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=True
    ).stdout
    assert "guest=banger-visible" in line
