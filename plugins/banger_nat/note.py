"""Where VMs have a way out: noted beside each VM's files, and in this process since it started."""

from __future__ import annotations

import json
from pathlib import Path

#: Beside the VM's other files, for a daemon that starts while it runs.
NOTE = "nat.json"
_places: set[tuple[str, str]] = set()


def write_note(directory: Path, bridge: str, mark: str, address: str) -> None:
    """Note a VM's way out."""
    _places.add((bridge, mark))
    (directory / NOTE).write_text(json.dumps({"bridge": bridge, "mark": mark, "address": address}))


def read_note(directory: Path) -> tuple[str, str, str] | None:
    """Return a VM's bridge, its mark and the VM's address; None when it has no way out."""
    try:
        note = json.loads((directory / NOTE).read_text())
        bridge, mark, address = str(note["bridge"]), str(note["mark"]), str(note["address"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    _places.add((bridge, mark))
    return bridge, mark, address


def find_places() -> set[tuple[str, str]]:
    """Return the bridges on which VMs had a way out since this process started, each with its mark."""
    return set(_places)
