"""Names of VMs: what the daemon's DNS says of one that runs, and that what it publishes is reached by it."""

from __future__ import annotations

import socket
from typing import Any

import dns.message
import dns.query
from vmring import BOOT, Home, until


def ask(port: int, name: str, *, tcp: bool = False) -> list[str]:
    """Ask the home's name server as any client would."""
    send: Any = dns.query.tcp if tcp else dns.query.udp
    said = send(dns.message.make_query(name, "A"), "127.0.0.1", timeout=30, port=port)
    return [value.to_text() for rrset in said.answer for value in rrset]


def test_a_running_vm_has_a_name_and_is_reached_by_it(banger: Home) -> None:
    script = (
        "perl -MIO::Socket -e 'my $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1);"
        ' while (my $c = $s->accept) { print $c "hello by name"; close $c }\' >/dev/null 2>&1 &'
    )
    args = ("vm", "create", "--name", "named", "--wait", "agent", "--publish", "8080")
    banger.ok(*args, timeout=BOOT)
    status = banger.ok("dns", "status", "--json").json
    address = banger.show("named")["vm"]["address"]
    assert {"name": "named.vm", "address": address} in status["names"]
    assert f"127.0.0.1:{status['port']}" in banger.ok("daemon", "status").text
    port = status["port"]
    assert ask(port, "named.vm") == ask(port, "NAMED.vm", tcp=True) == [address]
    assert ask(port, "other.vm") == []

    banger.ok("vm", "exec", "named", "--", "sh", "-c", script)

    def greeting() -> bytes:
        [found] = ask(port, "named.vm")
        try:
            with socket.create_connection((found, 8080), timeout=10) as connection:
                return connection.recv(100)
        except OSError:  # nothing listens in the guest yet
            return b""

    until(lambda: greeting() == b"hello by name", 60, "nothing answered at the published port")
    banger.ok("vm", "rename", "named", "renamed")
    until(lambda: ask(port, "named.vm") == [], 10, "the old name stays")
    assert ask(port, "renamed.vm") == [address]
    banger.ok("vm", "kill", "renamed")
    until(lambda: ask(port, "renamed.vm") == [], 10, "the name outlives its VM")


def test_names_are_back_when_the_daemon_was_killed(banger: Home) -> None:
    banger.ok("dns", "status")
    banger.kill_daemon()
    assert ask(banger.ok("dns", "status", "--json").json["port"], "other.vm") == []
