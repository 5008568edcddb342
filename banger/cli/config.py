"""Commands on settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from banger.cli.client import Client
from banger.cli.output import print_json, print_table, say
from banger.cli.vm import json_option
from banger.model.size import format_mib

#: Settings that are MiB.
_SIZES = ("defaults.memory", "defaults.disk_size", "defaults.overlay_size")


@click.command()
@click.argument("prefix", required=False, default="")
@json_option
def show(prefix: str, as_json: bool) -> None:
    """Show every setting, or those that begin with PREFIX, with its value and where it came from.

    Flags stand over the environment, it over ~/.config/banger/config.toml, that over /etc/banger/config.toml.
    """
    environment = {name: value for name, value in os.environ.items() if name.startswith("BANGER_")}
    environment = {name: value for name, value in environment.items() if len(value) <= 4096}
    settings = Client().call("config.show", {"environment": environment})["settings"]
    chosen = [setting for setting in settings if setting["key"].startswith(prefix)]
    if prefix and not chosen:
        from banger.errors import NotFoundError
        from banger.model.name import unknown_hint

        hint = unknown_hint(
            prefix, [setting["key"] for setting in settings], "all of them: banger config show"
        )
        raise NotFoundError(f"there is no setting '{prefix[:80]}'", hint=hint)
    if as_json:
        print_json(chosen)
        return
    print_table(("SETTING", "VALUE", "FROM"), [_row(setting) for setting in chosen])


def _row(setting: dict[str, Any]) -> tuple[str, str, str]:
    value = setting["value"]
    if setting["key"] in _SIZES and isinstance(value, int):
        text = format_mib(value)
    elif value is None:
        text = "-"
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, list):
        text = f"[{', '.join(str(item) for item in value)}]"
    else:
        text = str(value)
    return setting["key"], text, setting["origin"]


@click.command()
@json_option
def path(as_json: bool) -> None:
    """List the files that are looked at, later ones over earlier ones, and whether they are there."""
    from banger.config.paths import find_paths

    files = [_describe(file) for file in find_paths().config]
    if as_json:
        print_json(files)
        return
    print_table(("FILE", ""), [(file["path"], file["state"]) for file in files])
    if not any(file["exists"] for file in files):
        say(f"no file is needed; make one: {files[-1]['path']}")


def _describe(file: Path) -> dict[str, Any]:
    exists = os.path.lexists(file)
    readable = file.is_file() and os.access(file, os.R_OK)
    state = "read" if readable else "cannot be read" if exists else "not there"
    return {"path": str(file), "exists": exists, "readable": readable, "state": state}


@click.command()
@click.option("--project", is_flag=True, help="of a repository's banger.toml instead")
def schema(project: bool) -> None:
    """Print the JSON schema of the configuration file, for editors and checks; those of plugins included."""
    if project:
        from banger.cli.project_file import project_schema

        print_json(project_schema())
        return
    print_json(Client().call("config.schema")["document"])
