"""Commands on VMs that exist."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from typing import Any

import click

from banger.cli.client import Client
from banger.cli.output import Progress, age, moment, print_json, print_pairs, print_table, say
from banger.config.paths import NAME_ROUTES
from banger.model.size import format_mib

json_option = click.option("--json", "as_json", is_flag=True, help="print JSON")


def run_operation(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """Call an operation with its progress on the screen; Ctrl-C cancels it and waits until it is undone."""
    client, progress = Client(), Progress()
    try:
        return client.call(name, params, on_event=progress)
    except KeyboardInterrupt:
        progress.end()
        cancel(client, progress.op_id)
        raise
    finally:
        progress.end()


def cancel(client: Client, op_id: str | None, *, timeout: float = 30.0) -> None:
    """Cancel an operation and wait, bounded, until it is finished."""
    if op_id is None:
        return
    say("\ncancelling, one moment")
    client.call("op.cancel", {"op_id": op_id})
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if client.call("op.show", {"op_id": op_id})["done"]:
            return
        time.sleep(0.05)


def show_detail(detail: dict[str, Any], as_json: bool, what: str) -> None:
    """Print what became of a VM: JSON, or its name on standard output and the rest for people."""
    if as_json:
        print_json(detail)
        return
    for port in describe_ports(detail["ports"], detail["vm"]):
        say(f"published {port}")
    print(f"{detail['vm']['name']} {what}")


def describe_ports(ports: list[dict[str, Any]], vm: dict[str, Any]) -> list[str]:
    """Return published ports for people: ``127.77.0.5:20080 -> 80``, with the VM's name where this host resolves it."""
    name = find_host_name(vm) if ports else None
    return [f"{name or port['address']}:{port['host']} -> {port['guest']}" for port in ports]


def find_host_name(vm: dict[str, Any]) -> str | None:
    """Return ``NAME.vm`` where programs on this host get the VM's address for it; asked only where it may be so."""
    if vm["address"] is None or not any(os.path.exists(route) for route in NAME_ROUTES):
        return None
    import socket

    name = f"{vm['name']}.vm"
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return None
    return name if vm["address"] in {entry[4][0] for entry in found} else None


@click.command("list")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="print names only")
@click.option("-a", "--all", "_every", is_flag=True, hidden=True, help="as it always does")
def list_command(as_json: bool, quiet: bool, _every: bool) -> None:
    """List VMs, oldest first."""
    answer = Client().call("vm.list")
    vms, statuses = answer["vms"], answer["statuses"]
    if as_json:
        print_json([{**vm, "status": statuses.get(vm["id"])} for vm in vms])
    elif quiet:
        for vm in vms:
            print(vm["name"])
    elif not vms:
        say("no VMs; make one: banger vm run")
    else:
        print_table(
            ("ID", "NAME", "STATE", "IMAGE", "ADDRESS", "PORTS", "VCPU", "MEM", "DISK", "CREATED"),
            (_row(vm, statuses.get(vm["id"])) for vm in vms),
        )


def _row(vm: dict[str, Any], status: str | None) -> tuple[str, ...]:
    spec = vm["spec"]
    ports = (
        f"{port['host']}->{port['guest']}" if port["host"] != port["guest"] else str(port["guest"])
        for port in spec["publish"]
    )
    return (
        vm["id"][:12],
        vm["name"],
        status or vm["state"],
        vm["image_name"],
        vm["address"] or "-",
        ",".join(ports) or "-",
        str(spec["vcpu"]),
        f"{spec['memory_mib']} MiB",
        format_mib(spec["disk_mib"]),
        f"{age(vm['created_at'])} ago",
    )


@click.command()
@click.argument("vm")
@json_option
def show(vm: str, as_json: bool) -> None:
    """Show a VM."""
    detail = Client().call("vm.show", {"vm": vm})
    if as_json:
        print_json(detail)
        return
    record, spec = detail["vm"], detail["vm"]["spec"]
    timings = record["timings"]
    print_pairs(
        [
            ("name", record["name"]),
            ("id", record["id"]),
            (
                "state",
                record["state"]
                if detail["status"] in (None, "running")
                else f"{record['state']}, {detail['status']}",
            ),
            ("last error", record["last_error"] or ""),
            ("image", f"{record['image_name']} ({record['image'][:19]})"),
            ("kernel", f"{record['kernel_name']} ({record['kernel'][:19]})"),
            ("vcpu", str(spec["vcpu"])),
            ("memory", f"{spec['memory_mib']} MiB"),
            ("disk", f"{format_mib(spec['disk_mib'])} work, {format_mib(spec['overlay_mib'])} root (qcow2)"),
            ("vmm", " ".join(filter(None, (spec["vmm"], detail["machine"], detail["accelerator"])))),
            ("network", " ".join(filter(None, (spec["network"], record["address"], find_host_name(record))))),
            ("ports", ", ".join(describe_ports(detail["ports"], record))),
            ("capabilities", ", ".join(spec["capabilities"])),
            ("lent", ", ".join(spec["auth"])),
            ("process", str(detail["pid"] or "")),
            ("holds", ", ".join(detail["holds"])),
            ("orphaned", "; ".join(detail["orphans"])),
            ("created", moment(record["created_at"])),
            ("last start", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in timings.items())),
        ]
    )


@click.command()
@click.argument("vm")
@click.option("-f", "--follow", is_flag=True, help="go on until the VM stops")
@click.option("-n", "--lines", type=click.IntRange(0), help="only the last lines")
def logs(vm: str, follow: bool, lines: int | None) -> None:
    """Print a VM's console: kernel and init messages."""
    client = Client()
    answer = client.call("vm.logs", {"vm": vm})
    text = answer["text"]
    while answer["next"] < answer["size"]:
        answer = client.call("vm.logs", {"vm": vm, "offset": answer["next"]})
        text += answer["text"]
    if lines is not None:
        text = "".join(text.splitlines(keepends=True)[-lines:] if lines else [])
    _write(text)
    with contextlib.suppress(KeyboardInterrupt):
        while follow and answer["running"]:
            time.sleep(0.2)
            answer = client.call("vm.logs", {"vm": vm, "offset": answer["next"]})
            _write(answer["text"])


#: Terminal control sequences, whole: CSI, OSC and the two-character ones.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?!]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")


def _write(text: str) -> None:
    """Write console text; on a terminal without the control sequences a guest could play tricks with."""
    if sys.stdout.isatty():
        text = _SEQUENCE.sub("", text)
        text = "".join(char for char in text if char.isprintable() or char in "\n\t")
    sys.stdout.write(text)
    sys.stdout.flush()
