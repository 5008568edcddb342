"""Names as every program resolves them, by getaddrinfo, from the real name server, in namespaces of the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.host

#: In namespaces of its own: this host's resolver is told to ask 127.0.0.1, where our name server is at port 53.
_SCRIPT = """
import asyncio, json, socket, subprocess, sys
from pathlib import Path
from pyroute2 import IPRoute
from banger.host.command import HostCommands
from banger_dns import check, server
from tests.plugins.dns.name_server import Context, running

with IPRoute() as links:
    links.link("set", index=links.link_lookup(ifname="lo")[0], state="up")
for name, text in (("resolv.conf", "nameserver 127.0.0.1\\n"), ("nsswitch.conf", "hosts: files dns\\n")):
    Path(sys.argv[1], name).write_text(text)
    subprocess.run(["mount", "--bind", Path(sys.argv[1], name), Path("/etc", name)], check=True)

def look(name):
    try:
        return [entry[4][0] for entry in socket.getaddrinfo(name, 80, socket.AF_UNSPEC, socket.SOCK_STREAM)]
    except socket.gaierror:
        return []

async def main():
    async with running(Context(Path(sys.argv[1]), 53)) as serving:
        asked = ("otter.vm", "OTTER.vm.", "lynx.vm", "a.otter.vm")
        names = {name: await asyncio.to_thread(look, name) for name in asked}
        found = await asyncio.to_thread(check.check_names, HostCommands())
        print(json.dumps([serving.port, names, found.status, found.detail]))

asyncio.run(main())
"""


def test_programs_resolve_names_and_doctor_sees_it(tmp_path: Path) -> None:
    line = ["unshare", "--net", "--mount", sys.executable, "-c", _SCRIPT, str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100, cwd=root)
    assert done.returncode == 0, done.stderr
    port, names, status, detail = json.loads(done.stdout)
    assert port == 53
    assert names == {"otter.vm": ["127.64.0.7"], "OTTER.vm.": ["127.64.0.7"], "lynx.vm": [], "a.otter.vm": []}
    assert status == "PASS" and "127.0.0.1:53" in detail
