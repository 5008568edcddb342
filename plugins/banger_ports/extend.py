"""What this plugin adds to ``vm run`` and ``vm create``: ``--no-auto-ports``."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import click

from banger.api import Extension

_OPTION = click.Option(["--no-auto-ports"], is_flag=True, help="what the guest opens stays closed here")


def _plan(choices: MutableMapping[str, Any]) -> None:
    """Turn the capability ``auto-ports`` off where that is asked for."""
    if choices.pop("no_auto_ports"):
        choices["without"] = (*choices["without"], "auto-ports")


extension = Extension((_OPTION,), _plan)
