"""``system df`` and ``vm prune``."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from banger.api import (
    BangerError,
    Client,
    UsageError,
    filter_option,
    format_bytes,
    make_filter,
    print_json,
    print_table,
    say,
)

#: VMs that are deleted at the same time.
_AT_ONCE = 8
_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="each VM, image, kernel and cache")
@_json
def df(verbose: bool, as_json: bool) -> None:
    """Show what VMs, images, kernels and caches take on this host, and what is free."""
    usage = Client().call("system.df")
    if as_json:
        print_json(usage)
        return
    parts = usage["parts"]
    if verbose:
        headings = ("KIND", "NAME", "SIZE", "AT MOST", "STATE")
        print_table(headings, map(_row, parts))
    else:
        kinds = (("vm", "VMs"), ("image", "images"), ("kernel", "kernels"), ("cache", "caches"))
        print_table(
            ("KIND", "COUNT", "IN USE", "SIZE", "RECLAIMABLE"), (_sum(parts, *kind) for kind in kinds)
        )
    disk, memory = usage["disk"], usage["memory"]
    print(
        f"disk    {format_bytes(disk['free_bytes'])} free of {format_bytes(disk['size_bytes'])} at {disk['path']}"
    )
    free, size = format_bytes(memory["available_bytes"]), format_bytes(memory["size_bytes"])
    print(
        f"memory  {free} available of {size}; VMs that run may take {format_bytes(memory['promised_bytes'])}"
    )


def _sum(parts: list[dict[str, Any]], kind: str, word: str) -> tuple[str, ...]:
    ours = [part for part in parts if part["kind"] == kind]
    loose = [part for part in ours if part["reclaimable"]]
    size, free = (sum(part["bytes"] for part in some) for some in (ours, loose))
    return word, str(len(ours)), str(len(ours) - len(loose)), format_bytes(size), format_bytes(free)


def _row(part: dict[str, Any]) -> tuple[str, ...]:
    limit = "-" if part["limit_bytes"] is None else format_bytes(part["limit_bytes"])
    state = part["state"] or ("not needed" if part["reclaimable"] else "in use")
    return part["kind"], part["name"], format_bytes(part["bytes"]), limit, state


@click.command()
@click.option("--force", "-f", is_flag=True, help="do not ask")
@click.option("--dry-run", is_flag=True, help="only list what would go")
@filter_option
@_json
def prune(force: bool, dry_run: bool, filters: tuple[str, ...], as_json: bool) -> int:
    """Delete the VMs that are stopped or in error, with their disks, and say what that freed.

    VMs that run, or were created and never started, stay.
    """
    fits, client = make_filter(filters), Client()
    sizes = {
        part["name"]: part["bytes"] for part in client.call("system.df")["parts"] if part["kind"] == "vm"
    }
    vms = [vm for vm in client.call("vm.list")["vms"] if vm["state"] in ("stopped", "error") and fits(vm)]
    if vms and not as_json:
        rows = (
            (vm["name"], vm["state"], vm["image_name"], format_bytes(sizes.get(vm["name"], 0))) for vm in vms
        )
        print_table(("NAME", "STATE", "IMAGE", "SIZE"), rows)
    if vms and not (force or dry_run):
        if not sys.stdin.isatty():
            raise UsageError("nothing was deleted: nobody is there to say yes", hint="banger vm prune -f")
        click.confirm(
            f"Delete these {len(vms)} and their disks?" if len(vms) > 1 else "Delete it and its disks?",
            abort=True,
            err=True,
        )
    failed = {} if dry_run else _delete(client, vms)
    gone = [vm for vm in vms if vm["id"] not in failed]
    freed = sum(sizes.get(vm["name"], 0) for vm in gone)
    for vm in vms:
        if vm["id"] in failed:
            say(f"{vm['name']} stays: {failed[vm['id']]}")
    if as_json:
        names = [vm["name"] for vm in gone]
        print_json(
            {
                "deleted": [] if dry_run else names,
                "would_delete": names if dry_run else [],
                "freed_bytes": freed,
            }
        )
    elif not vms:
        say("no VM is stopped or in error")
    else:
        print(f"{'would free' if dry_run else 'freed'} {format_bytes(freed)}")
    return 1 if failed else 0


def _delete(client: Client, vms: list[dict[str, Any]]) -> dict[str, str]:
    """Delete VMs that still do not run; return why those stay that do."""

    def delete(vm: dict[str, Any]) -> str | None:
        try:
            Client().call("vm.delete", {"vm": vm["id"], "down": True})
        except BangerError as error:
            return None if error.type == "not-found" else error.message
        return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        reasons = list(pool.map(delete, vms))
    return {vm["id"]: reason for vm, reason in zip(vms, reasons, strict=True) if reason is not None}
