"""Where in a configuration file each value stands: tomllib does not say."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: Lines of a file that is looked through; each costs a reading of all before it.
_MOST_LINES = 1000


def find_lines(text: str) -> dict[str, int]:
    """Return the line, from 1, on which each dotted path of a TOML text is first written.

    A beginning of the text is TOML exactly where a statement ends, so the first one that knows a path ends with the
    statement that gave it.
    """
    found: dict[str, int] = {}
    lines = text.splitlines()[:_MOST_LINES]
    begin = 1
    for count in range(1, len(lines) + 1):
        try:
            table = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        for dotted in _paths(table):
            found.setdefault(dotted, begin)
        begin = count + 1
    return found


def find_line(origin: str, dotted: str) -> int | None:
    """Return the line at which the file ``origin`` gives ``dotted`` or what is around it; None when that is no file."""
    try:
        found = find_lines(Path(origin).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    parts = dotted.split(".")
    candidates = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((found[candidate] for candidate in candidates if candidate in found), None)


def _paths(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")
