"""What this plugin adds to ``vm run``, ``vm create`` and ``vm set``: ``--ttl`` and ``--auto-stop``."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import click

from banger.api import Extension

_OPTIONS = (
    click.Option(["--auto-stop"], metavar="TIME", help="stop it when nobody used it for 30m, …; never"),
    click.Option(["--ttl"], metavar="TIME", help="delete it after 30m, 2h, 3d, …; never"),
)


def _plan(choices: MutableMapping[str, Any]) -> None:
    """Ask for the capability ``lifetime`` where a time is given."""
    given = {name: choices.pop(name) for name in ("ttl", "auto_stop")}
    options = ",".join(f"{name}={value}" for name, value in given.items() if value is not None)
    if options:
        choices["with_"] = (*choices["with_"], f"lifetime:{options}")


extension = Extension(_OPTIONS, _plan)
