"""``bridge show`` and ``bridge remove``."""

from __future__ import annotations

import click

from banger.api import Client, print_json, print_pairs, say

_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


@click.command()
@_json
def show(as_json: bool) -> None:
    """Show the bridge that VMs are on: its address, the VMs' taps, the taps that are ready, who has a way out."""
    answer = Client().call("bridge.show")
    if as_json:
        print_json(answer)
        return
    if not answer["exists"]:
        say(f"there is no bridge {answer['bridge']}: it is made when a VM starts with --net bridge")
        return
    print_pairs(
        [
            ("bridge", answer["bridge"]),
            ("address", answer["address"] or "none"),
            *((entry["tap"], entry["vm"] or "no VM's") for entry in answer["taps"]),
            ("ready", ", ".join(answer["ready"]) or "none"),
            ("a way out", ", ".join(answer["leads_out"]) or "for nobody"),
        ]
    )


@click.command()
@_json
def remove(as_json: bool) -> None:
    """Remove the bridge, the taps that are ready and the firewall table; refused while VMs are on it.

    The next VM with --net bridge makes them again.
    """
    answer = Client().call("bridge.remove")
    if as_json:
        print_json(answer)
    else:
        say(f"{answer['bridge']} {'is removed' if answer['removed'] else 'is not there'}")
