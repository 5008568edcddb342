"""Options that are short for a plugin's capability: ``--ttl`` and ``--auto-stop``, ``--no-auto-ports``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

F = Callable[..., Any]


def lifetime_options(command: F) -> F:
    """Add how long a VM lasts, which the plugin ``lifetime`` sees to."""
    command = click.option("--ttl", metavar="TIME", help="delete it after 30m, 2h, 3d, …; never")(command)
    return click.option("--auto-stop", metavar="TIME", help="stop it when nobody used it for 30m, …; never")(
        command
    )


def take_lifetime(choices: dict[str, Any]) -> tuple[str, ...]:
    """Return the lifetime that was asked for as a capability with options, nothing when none was."""
    given = {name: choices.pop(name) for name in ("ttl", "auto_stop")}
    options = ",".join(f"{name}={value}" for name, value in given.items() if value is not None)
    return (f"lifetime:{options}",) if options else ()
