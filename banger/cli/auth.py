"""Commands on what may be lent to VMs."""

from __future__ import annotations

import click

from banger.cli.client import Client
from banger.cli.output import print_json, print_table
from banger.cli.vm import json_option


@click.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List what `--auth NAME` may lend to a VM, whether you have it, and whether every new VM gets it."""
    offers = Client().call("auth.list")["offers"]
    if as_json:
        print_json(offers)
        return
    print_table(
        ("NAME", "HERE", "IN THE GUEST", "FOUND", "LENT"),
        (
            (
                offer["name"],
                offer["host"],
                offer["guest"],
                "yes" if offer["there"] else "no",
                "always" if offer["chosen"] else "when asked",
            )
            for offer in offers
        ),
    )
