"""``op``: operations of the daemon."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import click

from banger.api import BangerError, Client, Progress, clean, print_json, print_table, say

#: Seconds that a cancelled operation gets to undo what it did, and between two looks.
_PATIENCE, _LOOK = 60.0, 0.1
#: Looking around is no news.
_QUIET = frozenset({"openapi", "op.list", "op.show", "op.follow", "op.cancel", "daemon.status", "none"})
_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


@click.command("list")
@click.option("-a", "--all", "every", is_flag=True, help="those that are over as well")
@_json
def list_command(every: bool, as_json: bool) -> None:
    """List what is under way, oldest first; with --all what the last hour brought, too.

    What a daemon was at when it was killed is shown as interrupted.
    """
    found = [each for each in Client().call("op.list")["operations"] if each["name"] not in _QUIET]
    found = [each for each in found if every or not each["done"]]
    if as_json:
        print_json(found)
    elif not found:
        say("nothing is under way; what was: banger op list --all" if not every else "nothing was done yet")
    else:
        print_table(("ID", "OPERATION", "STARTED", "STATE", "STAGE"), map(_row, found))


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    began = datetime.fromtimestamp(each["started"]).astimezone().isoformat(" ", "seconds")
    return each["op_id"], each["name"], began, _state(each), each["stage"] or "-"


def _state(each: dict[str, Any]) -> str:
    if not each["done"]:
        return "under way"
    if each["error"] is None:
        return "done"
    kind = str(each["error"].get("type", "")).removeprefix("banger:")
    return kind if kind in ("cancelled", "interrupted") else "failed"


@click.command()
@click.argument("op_id", metavar="OP-ID")
@_json
def follow(op_id: str, as_json: bool) -> int:
    """Show an operation's progress from its beginning until it is over; exit status 1 when it failed."""
    progress = Progress()
    try:
        end = Client().call("op.follow", {"op_id": op_id}, on_event=progress)
    finally:
        progress.end()
    return _tell(end, as_json)


@click.command()
@click.argument("op_id", metavar="OP-ID")
@_json
def cancel(op_id: str, as_json: bool) -> int:
    """Cancel an operation and wait until it has undone what it did."""
    client = Client()
    end = client.call("op.cancel", {"op_id": op_id})
    if end["done"]:
        say("it was over already")
    deadline = time.monotonic() + _PATIENCE
    while not end["done"]:
        if time.monotonic() > deadline:
            raise BangerError(f"{op_id} is still being undone", hint=f"banger op follow {op_id}")
        time.sleep(_LOOK)
        end = client.call("op.show", {"op_id": op_id})
    _tell(end, as_json)
    return 0


def _tell(end: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print_json(end)
    else:
        detail = f": {end['error'].get('detail', '')}" if end["error"] else ""
        print(clean(f"{end['name']} {_state(end)}{detail}"))
    return 0 if end["error"] is None else 1
