"""``vm port``."""

from __future__ import annotations

from typing import Any

import click

from banger.api import Client, print_json, print_table, run_operation, say

_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


@click.command()
@click.argument("vm")
@click.argument("ports", nargs=-1, required=True, metavar="[HOST:]GUEST...")
@_json
def add(vm: str, ports: tuple[str, ...], as_json: bool) -> None:
    """Make TCP ports of a VM reachable at its address here: at once where it runs, and from its next start on.

    \b
      banger vm port add web 8080
      banger vm port add web 9000:80
    """
    _change({"vm": vm, "publish": list(ports)}, as_json)


@click.command()
@click.argument("vm")
@click.argument("ports", nargs=-1, required=True, type=int, metavar="GUEST...")
@_json
def remove(vm: str, ports: tuple[int, ...], as_json: bool) -> None:
    """Make published ports of a VM unreachable again, at once where it runs; connections that are open stay.

    On a bridge all of a VM's ports are at its own address, published or not.
    """
    _change({"vm": vm, "unpublish": list(ports)}, as_json)


def _change(params: dict[str, Any], as_json: bool) -> None:
    detail = run_operation("vm.set", params)
    published = detail["vm"]["spec"]["publish"]
    if as_json:
        print_json(published)
    else:
        words = ", ".join(f"{port['host']}->{port['guest']}" for port in published)
        print(f"{detail['vm']['name']} publishes {words or 'nothing'}")


@click.command("list")
@click.argument("vm")
@_json
def list_command(vm: str, as_json: bool) -> None:
    """List the ports of a VM that open from this host, and through what."""
    detail = Client().call("vm.show", {"vm": vm})
    wanted = {port["guest"] for port in detail["vm"]["spec"]["publish"]}
    ports = [{**port, "published": port["guest"] in wanted} for port in detail["ports"]]
    if as_json:
        print_json(ports)
        return
    if not ports:
        say(
            f"no port of {detail['vm']['name']} is open; open one: banger vm port add {detail['vm']['name']} 8080"
        )
        return
    rows = (
        (
            f"{port['address']}:{port['host']}",
            str(port["guest"]),
            port["through"],
            "published" if port["published"] else "opened by the guest",
        )
        for port in ports
    )
    print_table(("HERE", "GUEST", "THROUGH", "WHY"), rows)
