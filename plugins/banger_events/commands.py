"""``vm events``."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import click

from banger.api import UsageError, clean
from banger_events.journal import read

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@click.command()
@click.option("--follow", "-f", is_flag=True, help="go on with what happens, until Ctrl-C")
@click.option("--since", metavar="WHEN", help="10m, 2h, 3d, or a time like 2026-11-21T08:00")
@click.option("--vm", "name", metavar="VM", help="of this VM only, by name or id")
@click.option("--json", "as_json", is_flag=True, help="print JSON lines")
def events(follow: bool, since: str | None, name: str | None, as_json: bool) -> None:
    """Show what became of VMs: created, started, failed, stopped, deleted, and ports that opened and closed."""
    begin = _moment(since) if since is not None else ""
    for entry in read(follow=follow):
        if entry["time"] < begin or (name is not None and name not in (entry["vm"], entry.get("id"))):
            continue
        if as_json:
            print(json.dumps(entry), flush=True)
            continue
        text = "  ".join((_local(entry["time"]), entry["event"].ljust(11), entry["vm"]))
        error = entry.get("error")
        if "endpoint" in entry:
            text += f"  {entry['endpoint']} -> {entry.get('guest')}"
        print(clean(f"{text}: {error}" if error else text), flush=True)


def _local(time: str) -> str:
    try:
        return datetime.fromisoformat(time).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError):
        return time


def _moment(text: str) -> str:
    """Return a time as the journal writes it.

    :raises UsageError: it is none.
    """
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if ago:
        moment = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    else:
        try:
            moment = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise UsageError(
                f"--since {text[:40]!r} is no time", hint="10m, 2h, 3d, or 2026-11-21T08:00"
            ) from error
    return moment.isoformat(timespec="milliseconds")
