"""Restart, pause, change, rename, wait, health: one VM at a time and several at once, against real VMs."""

from __future__ import annotations

import time

import pytest
from vmring import Home, is_alive, until


@pytest.fixture(scope="module")
def home(banger: Home) -> Home:
    banger.ok("vm", "create", "--name", "one", "--wait", "agent", "--publish", "8080")
    banger.ok("vm", "create", "--name", "two", "--wait", "agent")
    return banger


def state(home: Home, name: str) -> str:
    (found,) = [vm for vm in home.vms() if vm["name"] == name]
    return str(found["status"] or found["state"])


def test_a_paused_vm_waits_and_goes_on(home: Home) -> None:
    home.sh("one", "echo kept > /dev/shm/note")
    assert home.ok("vm", "pause", "one").text == "one paused"
    assert state(home, "one") == "paused"
    refused = home("vm", "exec", "one", "--", "true")
    assert (refused.status, refused.err.splitlines()[1]) == (1, "hint: banger vm resume one")
    # the VMM knows it, not the daemon
    home.kill_daemon()
    home.vms()
    until(lambda: state(home, "one") == "paused", 30, "a new daemon does not see that it is paused")
    assert home.ok("vm", "resume", "one").text == "one goes on"
    assert state(home, "one") == "running"
    assert home.sh("one", "cat /dev/shm/note") == "kept"
    assert abs(int(home.sh("one", "date +%s")) - time.time()) < 30
    # to pause twice, or to go on while going on, is no mistake
    home.ok("vm", "pause", "one")
    home.ok("vm", "pause", "one")
    # and a paused one can be stopped without losing anything
    home.sh("two", "true")
    home.ok("vm", "stop", "one")
    home.ok("vm", "start", "one", "--wait", "agent")


def test_sizes_and_ports_change_at_the_next_start(home: Home) -> None:
    set_ = home.ok(
        "vm", "set", "one", "--vcpu", "2", "--disk-size", "9G", "--overlay-size", "10G", "-p", "9000:80"
    )
    assert "it changes at its next start: banger vm restart one" in set_.err
    assert home.sh("one", "nproc") == "1"
    # a port opens at once, by a relay
    until(lambda: len(home.show("one")["ports"]) == 2, 60, "the new port does not open")
    # what it has now and what it will have are told apart
    shown, listed = home.ok("vm", "show", "one").text, home.ok("ps")
    assert "next start    2 vcpu, 9G work disk, 10G root disk" in shown
    assert "8G work, 8G root" in shown
    assert "one has 2 vcpu, 9G work disk" in listed.err and "9000->80" in listed.text
    home.sh("one", "echo kept > /root/note")
    restarted = home.ok("vm", "restart", "one", "--wait", "agent")
    assert restarted.text == "one restarted"
    assert home.sh("one", "nproc; cat /root/note").split() == ["2", "kept"]
    for mount, size in (("/", 10), ("/root", 9)):
        until(
            lambda mount=mount, size=size: (
                int(home.sh("one", f"stat -fc %b {mount}")) * 4096 > (size - 0.7) * 2**30
            ),
            60,
            f"{mount} did not grow",
        )
    assert {port["guest"] for port in home.show("one")["ports"]} == {8080, 80}
    assert "next start" not in home.ok("vm", "show", "one").text
    assert "9000->80" in home.ok("ps").text
    closed = home.ok("vm", "set", "one", "--unpublish", "80")
    assert "next start" not in closed.err
    assert {port["guest"] for port in home.show("one")["ports"]} == {8080}
    for arguments, words in (
        (("--disk-size", "1G"), "disks only grow"),
        (("--vcpu", "0"), "0 vcpu make no machine"),
        (("--memory", "1M"), "boot nothing"),
        (("--unpublish", "443"), "port 443 is not published"),
        ((), "nothing to change was given"),
    ):
        refused = home("vm", "set", "one", *arguments)
        assert refused.status == 2
        assert words in refused.err


def test_a_new_name_is_known_at_once_and_in_the_guest_after_a_restart(home: Home) -> None:
    taken = home("vm", "rename", "one", "two")
    assert taken.status == 1
    assert "a VM called 'two' exists" in taken.err
    assert home("vm", "rename", "one", "No Name").status == 2
    assert "its host name stays as it was until its next start" in home.ok("vm", "rename", "one", "uno").err
    assert home.sh("uno", "hostname") == "one"
    home.ok("vm", "restart", "uno", "--wait", "agent")
    assert home.sh("uno", "hostname") == "uno"
    home.ok("vm", "rename", "uno", "one")


def test_several_at_once(home: Home) -> None:
    done = home("vm", "stop", "two", "nobody", "one", "two")
    assert done.status == 1
    assert done.text.splitlines() == ["two stopped", "one stopped"]
    assert "there is no VM 'nobody'" in done.err
    assert home("vm", "wait", "one").status == 1
    home.ok("vm", "start", "--all", "--wait", "agent")
    assert [vm["state"] for vm in home.vms()] == ["running", "running"]
    details = home.ok("vm", "pause", "--all", "--json").json
    assert [detail["vm"]["name"] for detail in details] == ["one", "two"]
    home.ok("vm", "resume", "one", "two")
    assert home("vm", "delete", "--all").status == 2
    assert home("vm", "stop").status == 2
    assert home("vm", "stop", "one", "--all").status == 2


def test_signals(home: Home) -> None:
    pid = home.show("two")["pid"]
    assert home.ok("vm", "kill", "--signal", "quit", "two").text == "two killed"
    assert not is_alive(pid)
    assert state(home, "two") == "stopped"
    assert home("vm", "kill", "--signal", "STOP", "two").status == 2
    home.ok("vm", "start", "two", "--wait", "agent")


def test_waiting(home: Home) -> None:
    assert home.ok("vm", "wait", "one", "--for", "agent").text == "one is running"
    late = home("vm", "wait", "one", "--for", "stopped", "--timeout", "0.5")
    assert late.status == 1
    assert "waited 0.5 s for 'one' (stopped); it is running" in late.err
    waiting = home.start("vm", "wait", "two", "--for", "stopped")
    home.ok("vm", "kill", "two")
    out, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, out) == (0, b"two is stopped\n")
    home.ok("vm", "start", "two", "--wait", "agent")


def test_health(home: Home) -> None:
    health = home.ok("vm", "health", "one", "--json").json
    assert health["healthy"]
    assert health["memory_total_kib"] > 400_000
    assert "one is healthy" in home.ok("vm", "health", "one").text
    assert home.ok("vm", "ping", "one").text.startswith("one answered in ")
    assert home.ok("vm", "touch", "one").text == "one touched"
    # an agent that says nothing: bounded, and the way out is named
    deadline = time.monotonic() + 60
    home.sh("two", 'setsid sh -c "sleep 0.5; kill -STOP $PPID" >/dev/null 2>&1 &')
    while (silent := home("vm", "ping", "two", timeout=60)).status != 1:
        assert time.monotonic() < deadline, "the agent goes on"
    assert "did not answer health within 10 s" in silent.err
    assert "banger vm restart two" in silent.err
    home.ok("vm", "kill", "two")
