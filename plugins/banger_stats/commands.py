"""``vm stats``, ``vm top`` and ``vm ports``."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from banger.api import Client, format_bytes, print_json, print_table, say

_json = click.option("--json", "as_json", is_flag=True, help="print JSON")
_watch = click.option("--watch", "-w", is_flag=True, help="again and again, until Ctrl-C")
_interval = click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    help="seconds between two looks",
)
_HEADINGS = (
    "VM",
    "CPU",
    "GUEST CPU",
    "LOAD",
    "MEMORY",
    "RESIDENT",
    "OVERHEAD",
    "DISK",
    "NET IN/OUT",
    "UP FOR",
)


@click.command()
@click.argument("vms", nargs=-1)
@_watch
@_interval
@_json
def stats(vms: tuple[str, ...], watch: bool, interval: float, as_json: bool) -> None:
    """Show what running VMs use: all of them, or those named.

    CPU is that of the VM's process on this host, 100% being one processor; RESIDENT is its memory here, OVERHEAD what
    of it is not the guest's. BALLOON, where there is some, is memory that the guest gave back.
    """
    _show(vms, watch, interval, as_json)


@click.command()
@_interval
def top(interval: float) -> None:
    """Watch what every running VM uses, until Ctrl-C."""
    _show((), sys.stdout.isatty(), interval, as_json=False)


def _show(vms: tuple[str, ...], watch: bool, interval: float, as_json: bool) -> None:
    client = Client()
    while True:
        found = client.call("vm.stats", {"vms": list(vms)})["vms"]
        if as_json and watch:
            print(json.dumps(found), flush=True)
        elif as_json:
            print_json(found)
        else:
            if watch and sys.stdout.isatty():
                print("\033[H\033[2J", end="")
            _print(found)
        if not watch:
            return
        sys.stdout.flush()
        time.sleep(interval)


def _print(found: list[dict[str, Any]]) -> None:
    if not found:
        say("no VM is running; start one: banger vm run")
        return
    if any(use.get("balloon_kib") for use in found):
        print_table((*_HEADINGS, "BALLOON"), ((*_row(use), _kib(use["balloon_kib"])) for use in found))
    else:
        print_table(_HEADINGS, map(_row, found))


def _row(use: dict[str, Any]) -> tuple[str, ...]:
    return (
        use["vm"],
        _percent(use["cpu_percent"]),
        _percent(use["guest_cpu_percent"]),
        "-" if use["load"] is None else f"{use['load']:.2f}",
        f"{_kib(use['memory_used_kib'])} of {_kib(use['memory_total_kib'])}",
        _kib(use["resident_kib"]),
        _kib(use["overhead_kib"]),
        format_bytes(use["disk_bytes"]),
        f"{_bytes(use['rx_bytes'])} / {_bytes(use['tx_bytes'])}",
        "-" if use["uptime_seconds"] is None else _duration(use["uptime_seconds"]),
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}%"


def _kib(value: int | None) -> str:
    return "-" if value is None else format_bytes(value * 1024)


def _bytes(value: int | None) -> str:
    return "-" if value is None else format_bytes(value)


def _duration(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{left:02}s" if minutes else f"{left}s"


@click.command()
@click.argument("vm")
@click.option("--probe/--no-probe", default=True, help="find out which ports speak HTTP or HTTPS [yes]")
@_json
def ports(vm: str, probe: bool, as_json: bool) -> None:
    """Show what a VM's guest listens on, and where that opens from this host."""
    found = Client().call("vm.ports", {"vm": vm, "probe": probe})
    if as_json:
        print_json(found["ports"])
        return
    if not found["ports"]:
        say(f"nothing listens in {found['vm']}")
        return
    print_table(("PROTO", "ENDPOINT", "PROCESS", "COMMAND"), map(_port_row, found["ports"]))
    closed = [
        port["port"]
        for port in found["ports"]
        if port["reach"] == "unpublished" and port["protocol"] == "tcp"
    ]
    if closed:
        say(f"hint: to open one here: banger vm port add {found['vm']} {closed[0]}")


def _port_row(port: dict[str, Any]) -> tuple[str, ...]:
    where = {"host": "", "guest": " (guest only)", "unpublished": " (not published)"}[port["reach"]]
    if port["through"] == "agent":
        where = f" (by the agent, from {port['port']})"
    return port["protocol"], port["endpoint"] + where, port["process"] or "-", port["command"][:60] or "-"
