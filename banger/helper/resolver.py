"""Names of VMs: guests ask the bridge's address, the host asks systemd-resolved, and both come to the daemon."""

from __future__ import annotations

import os
from typing import Any

from banger.errors import HostError
from banger.helper import table
from banger.helper.links import open_links, resolve_bridge
from banger.helper.nft import run_nft
from banger.helper.program import run_program
from banger.helper.requests import DropNames, RouteNames

#: Seconds that resolvectl gets each of three times: with nft's, less than a caller waits for the helper.
_SECONDS = 10.0


def route(request: RouteNames) -> dict[str, Any]:
    """Lead what guests ask of the bridge's address to the daemon's port, and questions for ``vm.`` of the host too."""
    with open_links() as links:
        addresses = links.addresses(resolve_bridge(links, request.bridge, request.mark))
    name = table.names_of(request.bridge)
    script = f"add table ip {name}\ndelete table ip {name}\nadd table ip {name}\n"
    script += f"add chain ip {name} prerouting {{ type nat hook prerouting priority -100; policy accept; }}\n"
    for own in addresses:
        for kind in ("udp", "tcp"):
            script += f'add rule ip {name} prerouting iifname "{request.bridge}" ip daddr {own.ip} '
            script += f"{kind} dport 53 redirect to :{request.port}\n"
    run_nft(script)
    server = f"127.0.0.1:{request.port}"
    steps = (("dns", server), ("domain", "~vm"), ("default-route", "false"))
    return {"resolver": all(_tell(verb, request.bridge, value) for verb, value in steps)}


def drop(request: DropNames) -> dict[str, Any]:
    """Undo that; what is not there is no error."""
    with open_links() as links:
        there = links.find(request.bridge) is not None
        if there:
            resolve_bridge(links, request.bridge, request.mark)
    name = table.names_of(request.bridge)
    run_nft(f"add table ip {name}\ndelete table ip {name}\n")
    return {"resolver": there and _tell("revert", request.bridge)}


def _tell(verb: str, bridge: str, *values: str) -> bool:
    """Tell systemd-resolved of a link; False when it does not run, or does not take it."""
    if not os.path.exists("/run/systemd/resolve") or not _is_in_its_network():
        return False
    line = [verb, bridge, *values]
    try:
        done = run_program("resolvectl", line, seconds=_SECONDS, package="systemd-resolved")
    except HostError:  # guests' names do not wait for the host's
        return False
    return done.returncode == 0


def _is_in_its_network() -> bool:
    """Tell whether links have the numbers here that they have for systemd-resolved: not in a namespace of one's own."""
    try:
        return os.path.samefile("/proc/self/ns/net", "/proc/1/ns/net")
    except OSError:  # the helper's bounds forbid to look; systemd started both
        return True
