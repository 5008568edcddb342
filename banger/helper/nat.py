"""A way out for guests: who has one is a set in the bridge's table, which masquerades and forwards for its members."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from banger.errors import HostError
from banger.helper import table
from banger.helper.bridge import check_guests
from banger.helper.nft import run_nft
from banger.helper.requests import AllowNat, DenyNat, ShowNat

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
#: Chains by which firewalls are known, and what they are called.
_KNOWN = {"DOCKER-USER": "docker", "DOCKER-FORWARD": "docker", "ufw-user-forward": "ufw"}
#: How nft's JSON writes that a rule leads to another chain (libnftables-json(5)).
_LEADS = re.compile(r'"(?:jump|goto)": \{"target": "([^"]+)"')


def allow(request: AllowNat) -> dict[str, Any]:
    """Give guests a way out, and turn forwarding on where it is off."""
    check_guests(request, request.addresses)
    name, forwards = table.name_of(request.bridge), is_forwarding()
    there = table.read(request.bridge)
    script = "" if there is not None and there.right else table.base(request.bridge)
    if request.only:
        script += f"flush set ip {name} guests\n"
    if request.addresses:
        script += f"add element ip {name} guests {{ {', '.join(request.addresses)} }}\n"
        if not forwards:
            script += f"add chain ip {name} {table.WAS_OFF}\n"
    run_nft(script)
    if request.addresses and not forwards:
        _set_forwarding(on=True)
    elif request.only and not request.addresses:
        _end(request.bridge)
    return {}


def deny(request: DenyNat) -> dict[str, Any]:
    """Take a guest's way out away; after the last one forwarding is as it was before the first."""
    there = table.read(request.bridge)
    if there is None or request.address not in there.guests:
        return {"removed": False}
    name = table.name_of(request.bridge)
    run_nft(f"delete element ip {name} guests {{ {request.address} }}\n")
    if there.guests == {request.address}:
        _end(request.bridge)
    return {"removed": True}


def show(request: ShowNat) -> dict[str, Any]:
    """Say who has a way out, whether the host forwards, and what of others stands in the way."""
    there = table.read(request.bridge)
    return {
        "guests": sorted(there.guests) if there is not None else [],
        "forwarding": is_forwarding(),
        "blockers": find_blockers(request.bridge),
    }


def is_forwarding() -> bool:
    """Tell whether this host forwards IPv4."""
    return _FORWARDING.read_text().strip() != "0"


def _set_forwarding(*, on: bool) -> None:
    try:
        _FORWARDING.write_text("1" if on else "0")
    except OSError as error:
        raise HostError(
            f"forwarding is off and cannot be turned on: {error.strerror}",
            hint="sudo sysctl -w net.ipv4.ip_forward=1, or start the VM --without nat",
        ) from error


def _end(bridge: str) -> None:
    """After the last guest: turn forwarding off where it was off before, unless others count on it by now."""
    there = table.read(bridge)
    if there is None or not there.was_off:
        return
    name = table.name_of(bridge)
    if not any(True for chain in _chains_of_others(bridge) if chain.get("hook") == "forward"):
        _set_forwarding(on=False)
    run_nft(f"delete chain ip {name} {table.WAS_OFF}\n")


def _chains_of_others(bridge: str) -> list[dict[str, Any]]:
    """Return the base chains of every table but the bridge's."""
    chains = table.list_objects("chain", "chains")
    own = ("ip", table.name_of(bridge))
    return [chain for chain in chains if "hook" in chain and (chain["family"], chain["table"]) != own]


def find_blockers(bridge: str) -> list[dict[str, str]]:
    """Return firewalls of others that say nothing of the bridge and drop what is forwarded, or what comes to the host.

    What another table drops stays dropped, whatever ours accepts.
    """
    found = []
    for chain in _chains_of_others(bridge):
        if chain["hook"] not in ("forward", "input") or chain["family"] not in ("ip", "inet"):
            continue
        firewalld = chain["table"] == "firewalld"
        if chain.get("policy") != "drop" and not firewalld:
            continue
        where = f"{chain['family']} {chain['table']}"
        entries = table.list_entries(f"table {where}")
        if not _mentions(bridge, chain["name"], [entry["rule"] for entry in entries if "rule" in entry]):
            chains = {entry["chain"]["name"] for entry in entries if "chain" in entry}
            who = "firewalld" if firewalld else next((_KNOWN[name] for name in _KNOWN if name in chains), "")
            found.append({"table": where, "chain": chain["name"], "hook": chain["hook"], "who": who})
    return found


def _mentions(bridge: str, chain: str, rules: list[dict[str, Any]]) -> bool:
    """Tell whether a chain, or one that it leads to, says something of the bridge."""
    reached: set[str] = set()
    waiting = [chain]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        text = json.dumps([rule["expr"] for rule in rules if rule["chain"] == name])
        if f'"{bridge}"' in text:
            return True
        waiting += _LEADS.findall(text)
    return False
