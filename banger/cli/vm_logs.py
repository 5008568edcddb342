"""``vm logs``: a VM's console, its VMM's words, its agent's, and what the daemon says of it."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from banger.cli.client import Client
from banger.errors import UsageError
from banger.model.log_entry import LogEntry, parse_entries

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
#: What the agent's lines on the console begin with.
_AGENT = "banger-agent: "
#: Seconds between two looks.
_LOOK = 0.2


@click.command()
@click.argument("vm")
@click.option("-f", "--follow", is_flag=True, help="go on until the VM stops")
@click.option("-n", "--lines", type=click.IntRange(0), help="only the last lines")
@click.option(
    "--source",
    type=click.Choice(["console", "vmm", "agent", "daemon"]),
    default="console",
    show_default=True,
    help="whose words",
)
@click.option("--since", metavar="WHEN", help="what came after: 10m, 2h, 3d, or a time like 2026-11-21T08:00")
def logs(vm: str, follow: bool, lines: int | None, source: str, since: str | None) -> None:
    """Print a VM's console: kernel and init messages; or what else there is to read of it.

    agent: what its agent says on the console. vmm: what the process that runs it printed. daemon: the lines of the
    daemon's log that are about it. Only those have times; of the others --since shows a few seconds more.
    """
    begin = _moment(since) if since is not None else None
    pieces = _daemon_pieces(vm, begin) if source == "daemon" else _pieces(vm, source, begin)
    with contextlib.suppress(KeyboardInterrupt):
        text = next(pieces)
        if lines is not None:
            text = "".join(text.splitlines(keepends=True)[-lines:] if lines else [])
        _write(text)
        while follow and (more := next(pieces, None)) is not None:
            _write(more)
            time.sleep(_LOOK)


def _pieces(vm: str, source: str, begin: datetime | None) -> Iterator[str]:
    """Yield what there is, then what comes, until the VM is down."""
    client, where = Client(), "vmm" if source == "vmm" else "console"
    offset, first, rest = 0, True, ""
    since = {"since": max(0.0, begin.timestamp())} if begin is not None else {}
    while True:
        text = ""
        while True:
            answer = client.call("vm.logs", {"vm": vm, "offset": offset, "source": where, **since})
            since = {}
            offset, text = int(answer["next"]), text + str(answer["text"])
            if offset >= answer["size"]:
                break
        if source == "agent":
            *whole, rest = (rest + text).split("\n")
            text = "".join(f"{line}\n" for line in whole if _AGENT in line)
        if text or first or answer["running"]:
            yield text
        if not answer["running"]:
            return
        first = False


def _daemon_pieces(vm: str, begin: datetime | None) -> Iterator[str]:
    """Yield the daemon's lines about a VM, then those that come."""
    from banger.config.paths import find_paths

    record = Client().call("vm.show", {"vm": vm})["vm"]
    log, about = find_paths().log, About(record["name"], record["id"], begin)
    text = "".join(_read(log.with_name(f"{log.name}{end}"), 0) for end in (".2", ".1", ""))
    offset = log.stat().st_size if log.exists() else 0
    yield "".join(f"{line}\n" for line in about.choose(text.splitlines()))
    while True:
        size = log.stat().st_size if log.exists() else 0
        text = _read(log, offset if size >= offset else 0)
        text = text[: text.rfind("\n") + 1]
        offset = (offset if size >= offset else 0) + len(text.encode(errors="surrogateescape"))
        yield "".join(f"{line}\n" for line in about.choose(text.splitlines()))


class About:
    """Which entries of the daemon's log are about a VM: those that name it, and all of the operations of those.

    :param begin: before then nothing is chosen.
    """

    def __init__(self, name: str, vm_id: str, begin: datetime | None = None) -> None:
        self._begin = begin
        self._names = re.compile(rf"(?<![\w.-])(?:{re.escape(name)}|{vm_id})(?![\w-])")
        self._operations: set[str] = set()

    def choose(self, lines: list[str]) -> list[str]:
        """Return the entries about the VM as lines for people; earlier ones decide about later ones too."""
        entries = [entry for entry in parse_entries(lines) if entry.time]
        for entry in entries:
            if entry.op != "-" and self._names.search(entry.message):
                self._operations.add(entry.op)
        return [line for entry in entries if self._is_about(entry) for line in entry.lines()]

    def _is_about(self, entry: LogEntry) -> bool:
        if self._begin is not None and entry.moment < self._begin:
            return False
        return entry.op in self._operations or self._names.search(entry.message) is not None


def _read(path: Path, offset: int) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read().decode(errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _moment(text: str) -> datetime:
    """Return a time. :raises UsageError: it is none."""
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    try:
        unit: dict[str, Any] = {_UNITS[ago[2]]: int(ago[1])} if ago else {}
        now = datetime.now().astimezone()
        return now - timedelta(**unit) if ago else datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--since {text[:40]!r} is no time", hint="10m, 2h, 3d, or 2026-11-21T08:00"
        ) from error


#: Terminal control sequences, whole: CSI, OSC and the two-character ones.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?!]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")


def _write(text: str) -> None:
    """Write console text; on a terminal without the control sequences a guest could play tricks with."""
    if sys.stdout.isatty():
        text = _SEQUENCE.sub("", text)
        text = "".join(char for char in text if char.isprintable() or char in "\n\t")
    sys.stdout.write(text)
    sys.stdout.flush()
