"""The firewall around a bridge: one nftables table for each, ours alone, changed by one transaction at a time."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

from banger.errors import NetworkError
from banger.helper.nft import run_nft

#: An empty chain of this name: forwarding was off before the first guest, and is turned off again after the last.
WAS_OFF = "forwarding_was_off"


@dataclass(frozen=True, slots=True)
class Table:
    """What a table holds.

    :param guests: addresses that have a way out. :param was_off: whether forwarding was off before the first of them.
    :param right: whether its rules are all there, as this version makes them.
    """

    guests: frozenset[str]
    was_off: bool
    right: bool


def name_of(bridge: str) -> str:
    """Return the name of a bridge's table; nft takes no dashes."""
    return bridge.removeprefix("br-").replace("-", "_")


def names_of(bridge: str) -> str:
    """Return the name of the table that leads guests' questions for names to the daemon."""
    return f"{name_of(bridge)}_names"


def base(bridge: str) -> str:
    """Return the commands that make a bridge's table, or set its rules right; who has a way out stays.

    Guests reach the host and each other; beyond, only those that have a way out, and nobody comes in but with answers.
    """
    rules = _rules(bridge)
    return f"{rules}add chain ip {name_of(bridge)} {_mark_of(rules)}\n"


def _mark_of(rules: str) -> str:
    """Return the name of the empty chain that says which rules a table was made with."""
    return f"made_{zlib.crc32(rules.encode()):08x}"


def _rules(bridge: str) -> str:
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
add table bridge {table}
add map bridge {table} taps {{ type ifname : verdict; }}
add chain bridge {table} input {{ type filter hook prerouting priority -300; policy accept; }}
flush chain bridge {table} input
add rule bridge {table} input iifname vmap @taps
"""


def guard(bridge: str, tap: str, mac: str, address: str) -> None:
    """Drop what comes by a tap but IPv4 and ARP from one MAC and address."""
    chain = f"bridge {name_of(bridge)} {tap.replace('-', '_')}"
    run_nft(f"""\
add chain {chain}
flush chain {chain}
add rule {chain} ether saddr != {mac} drop
add rule {chain} ether type ip ip saddr != {address} drop
add rule {chain} ether type arp arp saddr ip != {address} drop
add rule {chain} ether type != {{ ip, arp }} drop
add element bridge {name_of(bridge)} taps {{ "{tap}" : jump {tap.replace("-", "_")} }}
""")


def unguard(bridge: str, tap: str) -> None:
    """Remove a tap's guard, if there is one."""
    name, chain = name_of(bridge), tap.replace("-", "_")
    chains = list_objects("chain", "chains bridge")
    if any((entry["table"], entry["name"]) == (name, chain) for entry in chains):
        run_nft(f'delete element bridge {name} taps {{ "{tap}" }}\ndelete chain bridge {name} {chain}\n')


def ensure(bridge: str) -> None:
    """Make a bridge's table, or set its rules right."""
    there = read(bridge)
    if there is None or not there.right:
        run_nft(base(bridge))


def remove(bridge: str) -> None:
    """Remove a bridge's tables, where they are there."""
    name = name_of(bridge)
    for table in (f"ip {name}", f"bridge {name}", f"ip {names_of(bridge)}"):
        run_nft(f"add table {table}\ndelete table {table}\n")


def read(bridge: str) -> Table | None:
    """Return what a bridge's table holds; None when there is none."""
    table = name_of(bridge)
    there = {entry["family"] for entry in list_objects("table", "tables") if entry["name"] == table}
    if "ip" not in there:
        return None
    objects = list_entries(f"table ip {table}")
    guests = [
        entry["set"].get("elem", []) for entry in objects if entry.get("set", {}).get("name") == "guests"
    ]
    chains = {entry["chain"]["name"] for entry in objects if "chain" in entry}
    rules = _rules(bridge)
    count = sum("rule" in entry for entry in objects)
    return Table(
        guests=frozenset(str(address) for found in guests for address in found),
        was_off=WAS_OFF in chains,
        right=_mark_of(rules) in chains and "bridge" in there and count == rules.count("add rule ip"),
    )


def list_objects(kind: str, what: str) -> list[dict[str, Any]]:
    """Return objects of one kind that nft lists."""
    return [entry[kind] for entry in list_entries(what) if kind in entry]


def list_entries(what: str) -> list[dict[str, Any]]:
    """Return what ``nft -j list …`` says."""
    try:
        found: list[dict[str, Any]] = json.loads(run_nft(f"list {what}", as_json=True))["nftables"]
    except (ValueError, KeyError) as error:
        raise NetworkError("nft lists something that is no JSON", hint="see: nft list ruleset") from error
    return found
