"""The daemon ends, is killed, restarts; VMs go on and nothing leaks."""

from __future__ import annotations

import time

import pytest
from vmring import Home, finish, is_alive, until

#: How often the daemon is killed in the middle of a frame, in each direction.
ROUNDS = 10
FLOODS = {
    "into the guest": "head -c 1048576 >/dev/null; echo flowing; exec cat >/dev/null",
    "out of the guest": "echo flowing; exec dd if=/dev/zero bs=1M 2>/dev/null",
}


def test_a_vm_is_adopted_after_the_daemon_was_killed(banger: Home, vm: str) -> None:
    pid = banger.show(vm)["pid"]
    banger.kill_daemon()
    assert banger.exec(vm, "echo", "still here").text == "still here"
    detail = banger.show(vm)
    assert (detail["vm"]["state"], detail["pid"]) == ("running", pid)


@pytest.mark.parametrize("direction", FLOODS)
def test_daemon_killed_inside_a_burst(banger: Home, vm: str, direction: str) -> None:
    for number in range(ROUNDS):
        with open("/dev/zero", "rb") as zero:
            process = banger.start(
                "vm", "exec", vm, "--", "sh", "-c", FLOODS[direction], stdin=zero, bufsize=0
            )
        assert process.stdout is not None
        # it flows: a mebibyte has passed
        assert process.stdout.readline() == b"flowing\n"
        if direction == "into the guest":
            time.sleep(number * 0.03)
        else:
            for _ in range(16 + 3 * number):
                assert process.stdout.read(65536)
        banger.kill_daemon()
        result = finish(process, timeout=30)
        assert result.status not in (0, 130)
        assert "Traceback" not in result.err
        answer = banger.exec(vm, "echo", f"round {number}")
        assert answer.text == f"round {number}", answer
    # what the floods left in the guest was ended with its client
    until(lambda: banger.exec(vm, "pgrep", "-x", "dd|cat").status == 1, 30, "a command outlived its client")


def test_many_clients_start_one_daemon(banger: Home, vm: str) -> None:
    banger.close_daemon()
    clients = [banger.start("vm", "list", "-q") for _ in range(6)]
    for result in [finish(client, timeout=60) for client in clients]:
        assert (result.status, result.text) == (0, vm), result.err
    pid = banger.daemon_pid()
    time.sleep(1)
    assert banger.locked_by() == pid
    banger.close_daemon()
    time.sleep(1)
    assert banger.locked_by() is None, "a daemon that lost the race took over later"


def test_a_changed_configuration_restarts_the_daemon_and_no_vm(banger: Home, vm: str) -> None:
    before, vmm = banger.daemon_pid(), banger.show(vm)["pid"]
    banger.config.write_text(banger.config.read_text().replace("vcpu = 1", "vcpu = 2"))
    assert banger.exec(vm, "true").status == 0
    after = banger.daemon_pid()
    assert after != before
    assert not is_alive(before)
    assert banger.show(vm)["pid"] == vmm


def test_a_socket_nobody_listens_at_is_replaced(banger: Home, vm: str) -> None:
    banger.vms()
    banger.kill_daemon()
    assert (banger.state / "s" / "bangerd.sock").exists()
    assert banger.ok("vm", "list", "-q").text == vm


def test_a_power_off_while_no_daemon_runs_is_found_at_the_next_start(alone: Home) -> None:
    alone.ok("vm", "create", "--name", "lonely", "--wait", "agent")
    (pid,) = alone.qemus()
    alone.exec("lonely", "sh", "-c", "setsid sh -c 'sleep 2; poweroff -ff' >/dev/null 2>&1 &")
    alone.kill_daemon()
    until(lambda: not is_alive(pid), 60, "the guest did not power off")
    assert alone.show("lonely")["vm"]["state"] == "stopped"
    assert alone.show("lonely")["holds"] == []


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 2.0])
def test_daemon_killed_while_it_creates(alone: Home, delay: float) -> None:
    alone.vms()
    process = alone.start("vm", "create", "--name", "half", "--wait", "agent")
    time.sleep(0.1 + delay)
    alone.kill_daemon()
    result = finish(process, timeout=60)
    assert "Traceback" not in result.err
    vms = alone.vms()
    if result.status != 0 and vms:
        assert vms[0]["state"] in ("error", "stopped", "created")
        assert alone.qemus() == []
        assert alone.show("half")["holds"] == []
    for vm in vms:
        alone.ok("vm", "delete", vm["name"])
    alone.assert_clean()


def test_daemon_killed_while_it_deletes_and_stops(alone: Home) -> None:
    for command in ("stop", "delete"):
        alone.ok("vm", "create", "--name", command, "--wait", "agent")
        process = alone.start("vm", command, command)
        time.sleep(0.25)
        alone.kill_daemon()
        finish(process, timeout=60)
        for vm in alone.vms():
            assert vm["state"] in ("stopped", "error", "running", "stopping")
            alone.ok("vm", "delete", vm["name"])
        alone.assert_clean()
