"""``vm snapshot``."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from banger.api import (
    BangerError,
    Client,
    UsageError,
    format_bytes,
    print_json,
    print_table,
    run_operation,
    say,
)

#: Seconds that Tab waits for the daemon.
_PATIENCE = 0.5


def _names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return what the snapshots of the VM before are called; a callback for click."""
    try:
        answer = Client().peek("snapshot.list", _PATIENCE, {"vm": ctx.params["vm"]})
        names = [str(snapshot["name"]) for snapshot in answer["snapshots"]]
    except (BangerError, OSError, KeyError, TypeError, ValueError):
        return []
    return [name for name in names if name.startswith(incomplete)]


_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


@click.command()
@click.argument("vm")
@click.argument("new_name", required=False, metavar="[NAME]")
@_json
def create(vm: str, new_name: str | None, as_json: bool) -> None:
    """Keep a VM's disks as they are now: its root disk and its /root. Its memory is not kept.

    The VM may run: its guest writes out what it holds and stands still while the disks are copied, usually less than a
    second. Without a name it is called snapshot-1 and so on. Snapshots go when the VM is deleted.

    \b
      banger vm snapshot create web before-upgrade
      banger vm stop web
      banger vm snapshot restore web before-upgrade
    """
    params = {"vm": vm, **({"name": new_name} if new_name is not None else {})}
    answer = run_operation("snapshot.create", params)
    if as_json:
        print_json(answer["snapshot"])
    else:
        print(f"{answer['snapshot']['name']} {format_bytes(answer['snapshot']['bytes'])}")


@click.command("list")
@click.argument("vm")
@_json
def list_command(vm: str, as_json: bool) -> None:
    """List a VM's snapshots, oldest first, and what each takes on this host."""
    answer = Client().call("snapshot.list", {"vm": vm})
    if as_json:
        print_json(answer["snapshots"])
    elif answer["snapshots"]:
        print_table(("NAME", "CREATED", "VM WAS", "SIZE"), map(_row, answer["snapshots"]))
    else:
        say(f"{answer['vm']} has no snapshot; make one: banger vm snapshot create {answer['vm']}")


def _row(snapshot: dict[str, Any]) -> tuple[str, ...]:
    made = datetime.fromisoformat(snapshot["created_at"]).astimezone()
    was = "running" if snapshot["running"] else "stopped"
    return snapshot["name"], made.isoformat(" ", "seconds"), was, format_bytes(snapshot["bytes"])


@click.command()
@click.argument("vm")
@click.argument("snapshot", metavar="NAME", shell_complete=_names)
@click.option("--yes", "-y", is_flag=True, help="do not ask")
@_json
def restore(vm: str, snapshot: str, yes: bool, as_json: bool) -> None:
    """Put the disks of a VM that is down back to a snapshot. What they hold now is lost; the snapshot stays."""
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "nothing was restored: nobody is there to say yes",
                hint=f"banger vm snapshot restore {vm} {snapshot} --yes",
            )
        click.confirm(
            f"Put the disks of {vm} back to {snapshot}? What they hold now is lost.", abort=True, err=True
        )
    answer = run_operation("snapshot.restore", {"vm": vm, "name": snapshot})
    if as_json:
        print_json(answer["snapshot"])
    else:
        print(
            f"{answer['vm']} is as it was at {answer['snapshot']['name']}; start it: banger vm start {answer['vm']}"
        )


@click.command()
@click.argument("vm")
@click.argument("snapshots", nargs=-1, required=True, metavar="NAME...", shell_complete=_names)
@_json
def delete(vm: str, snapshots: tuple[str, ...], as_json: bool) -> None:
    """Delete snapshots of a VM; its disks stay as they are."""
    gone = []
    for name in dict.fromkeys(snapshots):
        gone.append(run_operation("snapshot.delete", {"vm": vm, "name": name})["name"])
        if not as_json:
            print(f"{name} is deleted")
    if as_json:
        print_json(gone)
