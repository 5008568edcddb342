"""The whole surface at once: short forms lead somewhere, and what is printed is printed as JSON too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import entry_points

import click
import pytest

from banger.cli.group import make_cli
from banger.cli.table import ALIASES, COMMANDS, HABITS
from banger.testing.pytest_plugin import BangerDirs, MakeApp, RunCli

#: Commands whose output is another program's, a script's or a document, and so is no JSON or nothing else.
OTHERWISE = {
    "vm run": "what the command prints",
    "vm exec": "what the command prints",
    "vm ssh": "what ssh prints",
    "vm console": "what the guest prints",
    "vm logs": "what the guest prints",
    "vm forward": "nothing: it says on standard error what leads where",
    "vm cp": "nothing, or what a file holds",
    "config schema": "is JSON",
    "completion": "is a script",
}
KNOWN = {command.name for command in COMMANDS}
#: The commands of the plugins that come along.
OF_PLUGINS = {
    command.name
    for found in entry_points(group="banger")
    if found.value.startswith("banger_")
    for command in getattr(found.load(), "banger_register_commands", list)()
}


def commands() -> Iterator[tuple[str, click.Command]]:
    def walk(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            member = group.get_command(context, name)
            assert member is not None
            if isinstance(member, click.Group):
                yield from walk(member, f"{prefix}{name} ")
            else:
                yield f"{prefix}{name}", member

    yield from walk(make_cli(), "")


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=str)
def test_json_wherever_something_is_printed(name: str, command: click.Command) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options or name in OTHERWISE, f"banger {name} prints, but has no --json"


@pytest.mark.parametrize("alias", [alias for alias, full in ALIASES.items() if full in KNOWN])
def test_short_form_is_the_command_itself(run_cli: RunCli, alias: str) -> None:
    short, full = (run_cli(*words.split(), "--help").stdout for words in (alias, ALIASES[alias]))
    assert short.splitlines()[0].startswith(f"Usage: banger {alias} ")
    assert short.splitlines()[1:] == full.splitlines()[1:]


def test_no_short_form_hides_a_command() -> None:
    assert not set(ALIASES) & KNOWN
    assert not {alias for alias in ALIASES if any(name.startswith(f"{alias} ") for name in KNOWN)}


@pytest.mark.parametrize("typed", HABITS)
def test_what_people_try_leads_to_commands_there_are(run_cli: RunCli, typed: str) -> None:
    assert typed not in KNOWN | OF_PLUGINS and typed not in ALIASES
    result = run_cli(*typed.split())
    assert result.status == 2 and f"hint: {HABITS[typed]}" in result.stderr
    for words in HABITS[typed].split("banger ")[1:]:
        first, second = [*words.replace(",", " ").replace(";", " ").split(), ""][:2]
        assert {first, f"{first} {second}"} & {*KNOWN, *OF_PLUGINS, "is"}, words


def test_short_forms_are_in_the_help(run_cli: RunCli) -> None:
    shown = run_cli("--help").stdout
    assert "ls, list" in shown and "exec, shell" in shown
    assert "rm, " not in run_cli("vm", "--help").stdout.partition("Also:")[0]


@pytest.mark.parametrize(
    "words",
    [
        *("vm list", "ls", "image ls", "kernel ls", "plugins ls", "config show", "config path"),
        *("config schema", "daemon status", "version", "doctor", "daemon stop"),
    ],
)
def test_json_is_json(banger_app: MakeApp, run_cli: RunCli, words: str) -> None:
    banger_app(builtin=["core"])
    result = run_cli(*words.split(), *([] if words == "config schema" else ["--json"]))
    assert isinstance(json.loads(result.stdout), dict | list)


def test_json_of_the_log(banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    run_cli("vm", "list")
    told = json.loads(run_cli("daemon", "logs", "--json", "-n", "1").stdout)
    assert told["file"] == str(banger_dirs.state / "bangerd.log") and len(told["lines"]) == 1
    assert json.loads(run_cli("daemon", "stop", "--json").stdout) == {"stopped": True}
    assert json.loads(run_cli("daemon", "stop", "--json").stdout) == {"stopped": False}


def test_config_show_for_people(banger_app: MakeApp, banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    banger_app(config="[defaults]\nmemory = 512\n")
    shown = run_cli("config", "show").stdout
    assert f"{banger_dirs.config}:2" in shown and "512M" in shown and "a quarter of" in shown
    only = run_cli("config", "show", "defaults.disk").stdout.splitlines()
    assert len(only) == 2 and only[1].split() == ["defaults.disk_size", "8G", "built-in"]


def test_config_path_says_which_are_there(banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    assert "no file is needed" in run_cli("config", "path").stderr
    banger_dirs.write_config("")
    listed = json.loads(run_cli("config", "path", "--json").stdout)
    assert listed[-1] == {"path": str(banger_dirs.config), "exists": True, "readable": True, "state": "read"}
    assert not banger_dirs.state.exists()
