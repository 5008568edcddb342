"""Commands on what may be lent to VMs."""

from __future__ import annotations

import click

from banger.api import Client, print_json, print_table


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
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
