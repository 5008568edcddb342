"""What the screen says: tables, JSON, colours only where they are wanted, stages as they pass."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import IO, Any

from banger.model.size import format_bytes

_CLEAR = "\r\x1b[K"


def _is_screen(stream: IO[str]) -> bool:
    """Tell whether a stream is a terminal that takes control sequences."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def _coloured(stream: IO[str]) -> bool:
    return _is_screen(stream) and not os.environ.get("NO_COLOR")


def _paint(code: str, text: str, stream: IO[str] | None = None) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if _coloured(stream or sys.stderr) else text


def red(text: str, stream: IO[str] | None = None) -> str:
    """Return ``text`` in red where colour is wanted."""
    return _paint("31", text, stream)


def green(text: str, stream: IO[str] | None = None) -> str:
    """Return ``text`` in green where colour is wanted."""
    return _paint("32", text, stream)


def yellow(text: str, stream: IO[str] | None = None) -> str:
    """Return ``text`` in yellow where colour is wanted."""
    return _paint("33", text, stream)


def dim(text: str, stream: IO[str] | None = None) -> str:
    """Return ``text`` dimmed where colour is wanted."""
    return _paint("2", text, stream)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns two blanks apart; control characters never reach the terminal."""
    table = [list(headings), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(headings))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns, empty values left out."""
    kept = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        print(f"{name.ljust(width)}  {clean(value)}")


def clean(text: str) -> str:
    """Return text without control characters: what comes from a guest must not drive the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def say(text: str) -> None:
    """Print a line for people, on standard error: standard output belongs to the command that runs."""
    print(text, file=sys.stderr, flush=True)


@cache
def leave_line() -> None:
    """Begin a line of our own where a terminal has just shown ``^C``; once, however many messages follow."""
    if sys.stderr.isatty():
        say("")


def moment(iso: str) -> str:
    """Return an ISO 8601 time for people, as consoles show it too: ``2026-01-31 12:00:00+00:00``, in local time."""
    from datetime import datetime

    return datetime.fromisoformat(iso).astimezone().isoformat(" ", "seconds")


def age(created_at: str) -> str:
    """Return how long ago an ISO 8601 time was: ``3 min``."""
    from datetime import datetime

    seconds = max(0.0, time.time() - datetime.fromisoformat(created_at).timestamp())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


class Progress:
    """Shows an operation's events: the current stage on a terminal, finished long stages as lines.

    :param quiet: shows only specifications and notices.
    """

    #: Seconds a stage lasts before it leaves a line behind.
    LINGER = 1.0

    def __init__(self, *, quiet: bool = False) -> None:
        self.op_id: str | None = None
        self.vm_id: str | None = None
        self.vm_name: str | None = None
        self._live = _is_screen(sys.stderr) and not quiet
        self._quiet = quiet
        self._stage: tuple[str, str] | None = None
        self._began = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "operation":
            self.op_id = event.get("op_id")
        elif kind == "reserved":
            self.vm_id, self.vm_name = event.get("id"), event.get("name")
        elif kind in ("spec", "notice"):
            self.end()
            prefix = "" if kind == "spec" else "note: "
            say(f"{prefix}{clean(str(event.get('text')))}")
        elif kind == "stage":
            self._show(event)

    def _show(self, event: dict[str, Any]) -> None:
        stage, detail = clean(str(event.get("stage"))), clean(str(event.get("detail") or ""))
        done, total = event.get("done"), event.get("total")
        if done is not None:
            amount = format_bytes(done) + (f" of {format_bytes(total)}" if total else "")
            detail = f"{detail} {amount}".strip()
        if self._stage is None or self._stage[0] != stage:
            self._finish_stage()
            self._began = time.monotonic()
            if not self._live and not self._quiet and ":" in stage:
                say(f"  {stage}")  # a detail of one moment would read like a result
        self._stage = (stage, detail)
        if self._live:
            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            line = f"  {stage}  {detail}"[: max(1, width - 1)]
            sys.stderr.write(f"{_CLEAR}{dim(line)}")
            sys.stderr.flush()

    def _finish_stage(self) -> None:
        if self._live and self._stage is not None:
            sys.stderr.write(_CLEAR)
            took = time.monotonic() - self._began
            if took >= self.LINGER:
                say(dim(f"  {self._stage[0]}  {took:.1f} s"))

    def end(self) -> None:
        """Finish the line the current stage is on."""
        self._finish_stage()
        self._stage = None
        if self._live:
            sys.stderr.flush()
