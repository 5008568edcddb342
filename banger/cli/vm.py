"""Commands on VMs that exist."""

from __future__ import annotations

import os
import time
from itertools import starmap
from typing import Any

import click

from banger.cli.client import Client
from banger.cli.filter import filter_option, make_filter
from banger.cli.output import Progress, age, leave_line, moment, print_json, print_pairs, print_table, say
from banger.config.paths import NAME_ROUTES, find_user_paths
from banger.model.size import format_mib

json_option = click.option("--json", "as_json", is_flag=True, help="print JSON")


def run_operation(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """Call an operation with its progress on the screen; Ctrl-C cancels it and waits until it is undone."""
    client, progress = Client(), Progress()
    try:
        return client.call(name, params, on_event=progress)
    except KeyboardInterrupt as interrupt:
        progress.end()
        interrupt.add_note(cancel(client, progress.op_id))
        raise
    finally:
        progress.end()


def cancel(client: Client, op_id: str | None, *, timeout: float = 30.0) -> str:
    """Cancel an operation and wait, bounded, until it is finished; return what became of it."""
    if op_id is None:
        return "nothing was done"
    leave_line()
    say("cancelling, one moment")
    client.call("op.cancel", {"op_id": op_id})
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        operation = client.call("op.show", {"op_id": op_id})
        if operation["done"]:
            return _outcome(operation["error"])
        time.sleep(0.05)
    return f"what was under way goes on being undone; what becomes of it: banger daemon logs --op {op_id}"


def _outcome(error: dict[str, Any] | None) -> str:
    if error is None:
        return "it was done already"
    if error["type"].endswith("cancelled"):
        return str(error.get("hint") or "it was given up")
    return str(error["detail"])


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


def _own_vms() -> int:
    """Return how many VMs this user's own banger has, without asking its daemon."""
    try:
        return sum(1 for _ in find_user_paths().vms.iterdir())
    except OSError:
        return 0


@click.command("list")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="print names only")
@click.option("-a", "--all", "_every", is_flag=True, hidden=True, help="as it always does")
@click.option("--user", "own", is_flag=True, help="those of user mode, where the daemon is the host's")
@filter_option
def list_command(as_json: bool, quiet: bool, _every: bool, own: bool, filters: tuple[str, ...]) -> None:
    """List VMs, oldest first."""
    fits, client = make_filter(filters), Client(paths=find_user_paths() if own else None)
    answer = client.call("vm.list")
    if client.paths.is_system and not (as_json or quiet) and (count := _own_vms()):
        say(f"note: of user mode there are {count} more: banger vm list --user")
    vms, statuses = list(filter(fits, answer["vms"])), answer["statuses"]
    ports, labels, unhealthy = (answer.get(key, {}) for key in ("ports", "labels", "unhealthy"))
    if as_json:
        print_json(
            [
                {
                    **vm,
                    "status": statuses.get(vm["id"]),
                    "ports": ports.get(vm["id"], []),
                    "labels": labels.get(vm["id"], {}),
                    "unhealthy": unhealthy.get(vm["id"]),
                }
                for vm in vms
            ]
        )
    elif quiet:
        for vm in vms:
            print(vm["name"])
    elif not vms:
        say("no VM is like that; all: banger vm list" if answer["vms"] else "no VMs; make one: banger vm run")
    else:
        states = {**dict.fromkeys(unhealthy, "unhealthy"), **statuses}
        more = sorted({name for vm in vms for name in labels.get(vm["id"], {}) if name not in vm["labels"]})
        labelled = ["LABELS"] if any(vm["labels"] for vm in vms) else []
        headings = ("ID", "NAME", "STATE", "IMAGE", "ADDRESS", "PORTS", "VCPU", "MEM", "DISK", "CREATED")
        print_table(
            (*headings, *labelled, *(name.upper() for name in more)),
            (
                (
                    *_row(vm, states.get(vm["id"]), ports.get(vm["id"], [])),
                    *(",".join(starmap("{}={}".format, vm["labels"].items())) or "-" for _ in labelled),
                    *(labels.get(vm["id"], {}).get(name, "-") for name in more),
                )
                for vm in vms
            ),
        )
        for vm in vms:
            if vm["id"] in unhealthy:
                say(f"note: {vm['name']} is unhealthy, {unhealthy[vm['id']]}: banger vm health {vm['name']}")
            if changes := describe_changes(vm, ports.get(vm["id"], [])):
                say(f"note: {vm['name']} has {changes} at its next start: banger vm restart {vm['name']}")


def present_spec(vm: dict[str, Any]) -> dict[str, Any]:
    """Return what a VM has now, which ``vm set`` may have changed for its next start."""
    return dict(vm.get("running_spec") or vm["spec"])


def describe_changes(vm: dict[str, Any], ports: list[dict[str, Any]]) -> str:
    """Return what a VM has at its next start and has not now; empty when there is no such thing.

    :param ports: those that are open now, some of them perhaps since after its start.
    """
    now, then = present_spec(vm), vm["spec"]
    guests = [{port["guest"] for port in some} for some in (then["publish"], now["publish"], ports)]
    if guests[1] <= guests[0] <= guests[2]:
        now["publish"] = then["publish"]
    words = {
        "vcpu": f"{then['vcpu']} vcpu",
        "memory_mib": f"{then['memory_mib']} MiB",
        "disk_mib": f"{format_mib(then['disk_mib'])} work disk",
        "overlay_mib": f"{format_mib(then['overlay_mib'])} root disk",
        "network": f"network {then['network']}",
        "capabilities": f"capabilities {', '.join(then['capabilities']) or 'none'}",
        "publish": f"published {_wanted_ports(then)}" if then["publish"] else "no published port",
    }
    return ", ".join(text for key, text in words.items() if now[key] != then[key])


def _wanted_ports(spec: dict[str, Any]) -> str:
    return ", ".join(_port(port) for port in spec["publish"])


def _describe_disks(spec: dict[str, Any], kind: str | None) -> str:
    root = f"{format_mib(spec['overlay_mib'])} root"
    return f"{format_mib(spec['disk_mib'])} work, {root}{f' ({kind})' if kind else ''}"


def _port(port: dict[str, Any]) -> str:
    same = port["host"] == port["guest"]
    return str(port["guest"]) if same else f"{port['host']}->{port['guest']}"


def _row(vm: dict[str, Any], status: str | None, ports: list[dict[str, Any]]) -> tuple[str, ...]:
    spec = present_spec(vm)
    return (
        vm["id"][:12],
        vm["name"],
        status or vm["state"],
        vm["image_name"],
        vm["address"] or "-",
        ",".join(map(_port, ports)) or "-",
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
    record, spec, timings = detail["vm"], present_spec(detail["vm"]), detail["vm"]["timings"]
    wanted = _wanted_ports(spec)
    ports = ", ".join(describe_ports(detail["ports"], record))
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
            ("unhealthy", detail.get("unhealthy") or ""),
            ("last error", record["last_error"] or ""),
            ("image", f"{record['image_name']} ({record['image'][:19]})"),
            ("kernel", f"{record['kernel_name']} ({record['kernel'][:19]})"),
            ("init", "" if spec["init"] == "image" else spec["init"]),
            ("vcpu", str(spec["vcpu"])),
            ("memory", f"{spec['memory_mib']} MiB"),
            ("disk", _describe_disks(spec, detail["root_disk"])),
            ("vmm", " ".join(filter(None, (spec["vmm"], detail["machine"], detail["accelerator"])))),
            ("network", " ".join(filter(None, (spec["network"], record["address"], find_host_name(record))))),
            ("ports", ports or (f"{wanted}, once it runs" if wanted else "")),
            ("next start", describe_changes(record, detail["ports"])),
            ("capabilities", ", ".join(spec["capabilities"])),
            ("lent", ", ".join(spec["auth"])),
            *detail["labels"].items(),
            ("process", str(detail["pid"] or "")),
            ("holds", ", ".join(detail["holds"])),
            ("orphaned", "; ".join(detail["orphans"])),
            ("created", moment(record["created_at"])),
            ("last start", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in timings.items())),
        ]
    )
