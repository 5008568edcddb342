"""A line of the daemon's log: a JSON object with its time, level, operation, logger and message."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

#: Characters of a message and of a traceback that are written: a line stays a line that tools can read.
MESSAGE_LIMIT, TRACE_LIMIT = 16 * 1024, 32 * 1024


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry.

    :param time: ISO 8601 with milliseconds and offset from UTC; empty for a line that is no entry.
    :param level: ``INFO``, ``WARNING``, …
    :param op: the operation it belongs to, ``-`` for none.
    :param trace: a traceback, or nothing.
    """

    time: str
    level: str
    op: str
    logger: str
    message: str
    trace: str = ""

    def to_json(self) -> str:
        """Return the entry as the log has it, in ASCII and without a line's end."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    def to_dict(self) -> dict[str, str]:
        """Return the members that say something."""
        short = {"message": self.message[:MESSAGE_LIMIT], "trace": self.trace[-TRACE_LIMIT:]}
        members = {**asdict(self), **short}
        return {name: value for name, value in members.items() if value}

    @property
    def moment(self) -> datetime:
        """When it was written; the beginning of time where that is not known."""
        try:
            found = datetime.fromisoformat(self.time)
        except ValueError:
            return datetime.fromtimestamp(0, UTC)
        return found if found.tzinfo is not None else found.astimezone()

    def lines(self) -> list[str]:
        """Return the entry for people: a line, and a traceback's below it."""
        if not self.time:
            return [self.message]
        when = self.moment.astimezone().isoformat(" ", "milliseconds")[:23]
        head = f"{when} {self.level} {self.op} {self.logger}: {self.message}"
        return [*head.splitlines(), *self.trace.splitlines()]


def parse_entries(lines: Iterable[str]) -> Iterator[LogEntry]:
    """Yield the entries of a log; a line that is none, cut off or written by hand, is a message without a time."""
    for line in lines:
        if line:
            yield _parse(line)


def _parse(line: str) -> LogEntry:
    try:
        said: Any = json.loads(line)
        members = {name: str(said[name]) for name in ("time", "level", "op", "logger", "message")}
        return LogEntry(**members, trace=str(said.get("trace", "")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return LogEntry("", "", "-", "", line)
