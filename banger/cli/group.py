"""Lazy click groups: the tree is known from a table, a command's module is imported when the command runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from importlib import import_module

import click

from banger.cli.table import COMMANDS, GROUPS
from banger.errors import PluginError
from banger.model.command import Command

_SETTINGS = {"help_option_names": ["-h", "--help"]}


class LazyGroup(click.Group):
    """A group whose members are :class:`Command` values."""

    def __init__(self, prefix: str, table: Iterable[Command], help: str) -> None:
        super().__init__(prefix or "banger", help=help, context_settings=_SETTINGS)
        self._table: dict[str, Command] = {}
        self._groups: dict[str, list[Command]] = {}
        for command in table:
            name, _, rest = command.name.partition(" ")
            if rest:
                self._groups.setdefault(name, []).append(Command(rest, command.help, command.target))
            else:
                self._table[name] = command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._groups, *self._table]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._groups:
            return LazyGroup(
                cmd_name, self._groups[cmd_name], GROUPS.get(cmd_name, f"commands on {cmd_name}")
            )
        command = self._table.get(cmd_name)
        return _load(command) if command is not None else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self._groups and name not in self._table and not name.startswith("-"):
            from banger.model.name import unknown_hint

            hint = unknown_hint(name, self.list_commands(ctx), f"see: {ctx.command_path} --help")
            raise click.UsageError(f"there is no command '{ctx.command_path} {name}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, GROUPS.get(name, f"commands on {name}")) for name in self._groups]
        rows += [(name, command.help) for name, command in self._table.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _load(command: Command) -> click.Command:
    module, _, name = command.target.partition(":")
    try:
        loaded = getattr(import_module(module), name)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"the command '{command.name}' cannot be loaded from {command.target}: {error}",
            hint="banger doctor",
        ) from error
    if not isinstance(loaded, click.Command):
        raise PluginError(f"{command.target} is not a click command", hint="banger doctor")
    return loaded


def plugin_commands() -> list[Command]:
    """Return the commands plugins declared, as the daemon wrote them down; none before it first ran.

    Those of plugins that were uninstalled meanwhile are left out.
    """
    from banger.config.paths import find_paths

    try:
        content = json.loads(find_paths().commands.read_text())
        commands = [
            Command(str(entry["name"]), str(entry["help"]), str(entry["target"]))
            for entry in content["commands"]
            if not _hides_ours(entry["name"])
        ]
        packages = {_package(command) for command in commands}
        installed = {package for package in packages if _is_installed(package)}
        return [command for command in commands if _package(command) in installed]
    except Exception:  # a cache: whatever is wrong with it, banger works without
        return []


def _package(command: Command) -> str:
    return command.target.partition(":")[0].partition(".")[0]


def _is_installed(package: str) -> bool:
    """Tell whether a package is there, without importing anything of it."""
    from importlib.util import find_spec

    return package in sys.modules or (package != "" and find_spec(package) is not None)


_CORE = [command.name for command in COMMANDS]


def _hides_ours(name: str) -> bool:
    """Tell whether a command would stand in the place of one of ours or of a group, or turn one into a group."""
    return any(f"{name} " == f"{ours} "[: len(name) + 1] or name.startswith(f"{ours} ") for ours in _CORE)


def make_cli() -> click.Group:
    """Return the root command."""
    root = LazyGroup(
        "", [*COMMANDS, *plugin_commands()], "A disposable Linux machine of your own with one command."
    )
    root.epilog = "Start with: banger vm run --rm -- uname -a"
    root.params.append(
        click.Option(["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_print_version)
    )
    root.no_args_is_help = True
    return root


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from banger.build import version_line

        click.echo(version_line())
        ctx.exit()
