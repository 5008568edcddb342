"""Firewalls of others that drop what VMs send, and how to make them let it through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_HINTS = {
    "docker": "sudo iptables -I DOCKER-USER -i {bridge} -j ACCEPT; sudo iptables -I DOCKER-USER -o {bridge} -j ACCEPT",
    "firewalld": "sudo firewall-cmd --permanent --zone=trusted --add-interface={bridge}; sudo firewall-cmd --reload",
    "ufw": "sudo ufw route allow in on {bridge}; sudo ufw route allow out on {bridge}",
    "": "let it accept what comes from {bridge} and goes there",
}


def on_the_way_out(blockers: Iterable[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return those of the helper's findings that concern what the host forwards."""
    return [blocker for blocker in blockers if blocker["hook"] == "forward"]


def describe_blockers(blocker: Mapping[str, str], bridge: str) -> tuple[str, str]:
    """Return what stands in the way, and what to do."""
    who = blocker["who"]
    named = {"docker": "Docker's firewall", "": "another firewall"}.get(who, who)
    detail = f"{named} drops what VMs send ({blocker['table']}, chain {blocker['chain']})"
    return detail, _HINTS.get(who, _HINTS[""]).format(bridge=bridge)
