"""The firewall around a bridge: one nftables table for each, ours alone, changed by one transaction at a time."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Any

from banger.errors import HostError, NetworkError

#: Where nft is looked for: nobody but root writes there.
_PROGRAMS = ("/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft", "/usr/bin/nft")
_NFT_SECONDS = 15.0
#: An empty chain of this name: forwarding was off before the first guest, and is turned off again after the last.
WAS_OFF = "forwarding_was_off"


@dataclass(frozen=True, slots=True)
class Table:
    """What a table holds.

    :param guests: addresses that have a way out. :param was_off: whether forwarding was off before the first of them.
    """

    guests: frozenset[str]
    was_off: bool


def name_of(bridge: str) -> str:
    """Return the name of a bridge's table; nft takes no dashes."""
    return bridge.removeprefix("br-").replace("-", "_")


def base(bridge: str) -> str:
    """Return the commands that make a bridge's table, or set its rules right; who has a way out stays.

    Guests reach the host and each other; beyond, only those that have a way out, and nobody comes in but with answers.
    """
    table = name_of(bridge)
    return f"""\
add table ip {table}
add set ip {table} guests {{ type ipv4_addr; }}
add chain ip {table} postrouting {{ type nat hook postrouting priority 100; policy accept; }}
add chain ip {table} forward {{ type filter hook forward priority 0; policy accept; }}
flush chain ip {table} postrouting
flush chain ip {table} forward
add rule ip {table} postrouting ip saddr @guests oifname != "{bridge}" masquerade
add rule ip {table} forward iifname "{bridge}" oifname "{bridge}" accept
add rule ip {table} forward iifname "{bridge}" ip saddr @guests accept
add rule ip {table} forward iifname "{bridge}" drop
add rule ip {table} forward oifname "{bridge}" ip daddr @guests ct state established,related accept
add rule ip {table} forward oifname "{bridge}" drop
"""


def ensure(bridge: str) -> None:
    """Make a bridge's table, or set its rules right."""
    run_nft(["-f", "-"], base(bridge))


def remove(bridge: str) -> None:
    """Remove a bridge's table, if there is one."""
    table = name_of(bridge)
    run_nft(["-f", "-"], f"add table ip {table}\ndelete table ip {table}\n")


def read(bridge: str) -> Table | None:
    """Return what a bridge's table holds; None when there is none."""
    table = name_of(bridge)
    if not any(entry["name"] == table for entry in list_objects("table", "tables ip")):
        return None
    objects = list_entries(f"table ip {table}")
    guests = [
        entry["set"].get("elem", []) for entry in objects if entry.get("set", {}).get("name") == "guests"
    ]
    chains = {entry["chain"]["name"] for entry in objects if "chain" in entry}
    return Table(frozenset(str(address) for found in guests for address in found), WAS_OFF in chains)


def list_objects(kind: str, what: str) -> list[dict[str, Any]]:
    """Return objects of one kind that nft lists."""
    return [entry[kind] for entry in list_entries(what) if kind in entry]


def list_entries(what: str) -> list[dict[str, Any]]:
    """Return what ``nft -j list …`` says."""
    try:
        found: list[dict[str, Any]] = json.loads(run_nft(["-j", "list", *what.split()]))["nftables"]
    except (ValueError, KeyError) as error:
        raise NetworkError("nft lists something that is no JSON", hint="see: nft list ruleset") from error
    return found


def run_nft(arguments: list[str], script: str = "") -> str:
    """Run nft and return what it prints; a script is one transaction, done whole or not at all.

    :raises HostError: it is not installed. :raises NetworkError: it refused, or did not end in time.
    """
    program = next((path for path in _PROGRAMS if os.access(path, os.X_OK)), None)
    if program is None:
        raise HostError("nft is not installed", hint="sudo apt install nftables")
    try:
        done = subprocess.run(
            [program, *arguments],
            input=script,
            capture_output=True,
            text=True,
            timeout=_NFT_SECONDS,
            env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "LANG": "C.UTF-8"},
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NetworkError(
            f"nft did not end within {_NFT_SECONDS:.0f} s", hint="see: nft list tables"
        ) from error
    except OSError as error:
        raise HostError(f"nft could not be started: {error.strerror}", hint="see: banger doctor") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise NetworkError(
            f"nft refused: {lines[0][:200] if lines else 'it says nothing'}", hint="nft list tables"
        )
    return done.stdout
