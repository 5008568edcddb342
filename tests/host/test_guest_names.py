"""Names as guests on a bridge ask for them: port 53 of the bridge's address, led to a daemon that is not root's."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from network import Namespace, namespaces

from tests.rings import IN_USER_NAMESPACE

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(IN_USER_NAMESPACE, reason="needs the host's own root: taps, and files given away"),
]

_ROOT = Path(__file__).parents[2]
#: The daemon's part: a bridge, the name server, and what a VM's start tells it; a line ends it.
_SERVE = """
import asyncio, sys
from pathlib import Path
from banger.helper.requests import EnsureBridge
from banger.host.privileged import HostPrivileged
from banger.model.service import RunningVm
from banger_dns.guests import HUB, Place
from tests.plugins.dns.name_server import OTTER, Context, running

async def main():
    seam = HostPrivileged(Path("/nowhere"))
    await asyncio.to_thread(seam.call, EnsureBridge("br-banger", "0123abcd", "172.16.176.1", 20))
    context = Context(Path(sys.argv[1]), 42069, seam)
    context.table = [OTTER, RunningVm("2" * 32, "lynx", "running", "172.16.180.9")]
    async with running(context):
        await asyncio.to_thread(HUB.sync, Place("br-banger", "0123abcd", "172.16.176.1"), seam)
        print("up", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    print("down", flush=True)
    await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""
_ASK = """
import json, sys
import dns.message, dns.query
said = []
for name in sys.argv[2:]:
    for ask in (dns.query.udp, dns.query.tcp):
        answer = ask(dns.message.make_query(name, "A"), sys.argv[1], timeout=20)
        said.append([answer.rcode().name, *(value.to_text() for rrset in answer.answer for value in rrset)])
print(json.dumps(said))
"""


def ask(where: Namespace, server: str, *names: str) -> list[list[str]]:
    """Ask by UDP and by TCP; each answer's code and addresses."""
    said: list[list[str]] = json.loads(where.run(sys.executable, "-c", _ASK, server, *names))
    return said


def test_guests_ask_the_bridge_for_each_other(tmp_path: Path) -> None:
    with contextlib.ExitStack() as running:
        host, guest = running.enter_context(namespaces(2))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        daemon = running.enter_context(
            host.start(sys.executable, "-c", _SERVE, str(tmp_path), cwd=_ROOT, **pipes)
        )
        running.callback(daemon.kill)
        assert daemon.stdin is not None and daemon.stdout is not None
        assert daemon.stdout.readline() == b"up\n"
        host.sh(
            f"ip link add port type veth peer name eth0 netns {guest.pid}; ip link set port master br-banger up"
        )
        guest.sh(
            "ip addr add 172.16.176.2/20 dev eth0; ip link set eth0 up; ip route add default via 172.16.176.1"
        )

        answers = ask(guest, "172.16.176.1", "lynx.vm", "otter.vm", "example.org")
        assert answers[:2] == [["NOERROR", "172.16.180.9"]] * 2, "one guest finds another"
        assert answers[2:4] == [["NXDOMAIN"]] * 2, "what is on the host's loopback is nothing to it"
        assert answers[4:] == [["REFUSED"]] * 2, "and for the rest it asks the next of its name servers"
        assert "redirect to :42069" in host.run("nft", "list", "table", "ip", "banger_names")
        daemon.stdin.write(b"\n")
        daemon.stdin.flush()
        assert daemon.stdout.readline() == b"down\n"
        assert "banger_names" not in host.run("nft", "list", "tables"), "nothing leads to a daemon that ended"
