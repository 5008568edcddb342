"""``vm stats`` and ``vm ports`` of a machine that really runs."""

from __future__ import annotations

import socket

from vmring import Home, until

#: Its tests leave the home and the VM as they found them: see conftest.
IN_COMMONS = True


def test_what_a_vm_uses(banger: Home, vm: str) -> None:
    [use] = banger.ok("vm", "stats", vm, "--json").json
    assert use["vm"] == vm
    assert 0 < use["memory_used_kib"] < use["memory_total_kib"]
    assert 0 < use["overhead_kib"] < use["resident_kib"]
    assert use["cpu_percent"] >= 0
    assert use["disk_bytes"] > 0
    assert use["tx_bytes"] >= 0
    assert vm in banger.ok("vm", "top").text


def test_memory_is_taken_from_a_guest_that_runs_and_given_back(banger: Home, vm: str) -> None:
    def total() -> int:
        return int(
            banger.ok("vm", "exec", vm, "--", "sh", "-c", "grep MemTotal /proc/meminfo").text.split()[1]
        )

    def change(mib: int) -> None:  # a guest that is very busy begins late, and is then said to have it later
        until(
            lambda: "next start" not in banger.ok("vm", "set", vm, "--memory", f"{mib}M").err,
            120,
            "the guest's memory does not change",
        )

    whole, seen = banger.show(vm)["vm"]["spec"]["memory_mib"], total()
    try:
        change(whole - 64)
        [use] = banger.ok("vm", "stats", vm, "--json").json
        assert use["balloon_kib"] == 64 * 1024
        assert total() == seen - 64 * 1024
    finally:
        change(whole)
    assert total() == seen


def test_what_a_guest_listens_on(banger: Home, vm: str) -> None:
    perl = (
        '$s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 5432, Listen => 1) or die;'
        'syswrite(STDOUT, "on\\n"); $s->accept->print("hello\\n"); sleep 600'
    )
    listening = banger.start("vm", "exec", vm, "--", "perl", "-MIO::Socket", "-e", perl, bufsize=0)
    with listening:
        assert listening.stdout is not None
        assert listening.stdin is not None
        try:
            assert listening.stdout.readline() == b"on\n"
            # a server on the guest's own loopback opens here by itself, through the agent
            until(
                lambda: any(port["guest"] == 5432 for port in banger.show(vm)["ports"]),
                60,
                "the guest's port does not open",
            )
            found = {port["port"]: port for port in banger.ok("vm", "ports", vm, "--no-probe", "--json").json}
            assert (found[5432]["reach"], found[5432]["through"]) == ("host", "agent")
            host, _, number = found[5432]["endpoint"].rpartition(":")
            with socket.create_connection((host, int(number)), timeout=30) as connection:
                assert connection.recv(100) == b"hello\n"
            assert found[5432]["process"] == "perl"
            assert "LocalPort => 5432" in found[5432]["command"]
        finally:
            listening.kill()
