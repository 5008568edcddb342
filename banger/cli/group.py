"""Lazy click groups: the tree is known from a table, a command's module is imported when the command runs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from banger.cli.table import ALIASES, COMMANDS, GROUPS, HABITS
from banger.cli.which import host_option
from banger.errors import BangerError, PluginError
from banger.model.command import Command

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from banger.cli.client import Client

_SETTINGS = {"help_option_names": ["-h", "--help"]}


class UnknownCommand(click.UsageError):
    """There is no such command; ``hint`` says what there is."""

    def __init__(self, message: str, ctx: click.Context, hint: str) -> None:
        super().__init__(message, ctx)
        self.hint = hint


class Interrupted(BaseException):
    """A command was interrupted, which is its cause: click would say an empty line of its own."""


class LazyGroup(click.Group):
    """A group whose members are :class:`Command` values.

    :param aliases: other names of members, with what they stand for; those of commands that are not here are left out.
    """

    def __init__(
        self, prefix: str, table: Iterable[Command], help: str, aliases: Mapping[str, Command] | None = None
    ) -> None:
        super().__init__(prefix or "banger", help=help, context_settings=_SETTINGS)
        self._table: dict[str, Command] = {}
        self._groups: dict[str, list[Command]] = {}
        self._aliases: dict[str, Command] = {}
        self._group_aliases: dict[str, dict[str, Command]] = {}
        for command in table:
            name, _, rest = command.name.partition(" ")
            if rest:
                self._groups.setdefault(name, []).append(Command(rest, command.help, command.target))
            else:
                self._table[name] = command
        for alias, command in (aliases or {}).items():
            name, _, rest = alias.partition(" ")
            if rest:
                self._group_aliases.setdefault(name, {})[rest] = command
            else:
                self._aliases[name] = command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._groups, *self._table]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._groups or cmd_name in self._group_aliases:
            return LazyGroup(
                cmd_name,
                self._groups.get(cmd_name, ()),
                _about(cmd_name, self._groups.get(cmd_name, ())),
                self._group_aliases.get(cmd_name),
            )
        if cmd_name in self._table:
            return _load(self._table[cmd_name], self.name or "")
        alias = self._aliases.get(cmd_name)
        return _load(alias, alias.name.partition(" ")[0]) if alias is not None else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self._known() and not name.startswith("-"):
            from banger.model.name import suggest

            habit = HABITS.get(" ".join(filter(None, (ctx.command_path.partition(" ")[2], name))))
            if habit is not None:
                raise UnknownCommand(f"there is no command '{ctx.command_path} {name}'", ctx, habit)
            close = suggest(name, self._known())
            everything = f"{ctx.command_path} --help"
            hint = f"did you mean '{close}'? all of them: {everything}" if close else everything
            raise UnknownCommand(f"there is no command '{ctx.command_path} {name[:80]}'", ctx, hint)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise Interrupted from interrupt

    def _known(self) -> set[str]:
        return {*self._groups, *self._table, *self._aliases, *self._group_aliases}

    def _members(self) -> list[tuple[str, str]]:
        """Return the names of the members and what each is for; nothing is imported."""
        rows = [(name, _about(name, members)) for name, members in self._groups.items()]
        return [*rows, *((name, command.help) for name, command in self._table.items())]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the members that begin like this, from the table: click would import each of them."""
        from click.shell_completion import CompletionItem

        rows = self._members()
        if incomplete:  # a short form is offered to those who have begun to type it
            rows += [(alias, command.help) for alias, command in self._aliases.items()]
        members = [CompletionItem(name, help=what) for name, what in rows if name.startswith(incomplete)]
        return [*members, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self._members())
        rows: dict[str, list[str]] = {}
        for alias, command in self._aliases.items():
            rows.setdefault(command.name, []).append(alias)
        if rows:
            with formatter.section("Also"):
                formatter.write_dl([(", ".join(names), full) for full, names in rows.items()])


def _about(group: str, members: Iterable[Command]) -> str:
    """Return what a group is for; of a plugin's, what is in it."""
    return GROUPS.get(group) or ", ".join(member.name for member in members)


def _load(command: Command, family: str) -> click.Command:
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
    if "_BANGER_COMPLETE" in os.environ:
        from banger.cli.completion import add_live_names

        add_live_names(loaded, family)
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


def learn_commands(arguments: list[str]) -> list[Command] | None:
    """Let the daemon write down what plugins declare, when a command is neither ours nor what it wrote down.

    It is not asked when it wrote that down as it is now: then there is no such command.

    Through sudo no daemon is started, because it would be root's and stay: banger's own plugins are asked then. Return
    what they declare; None when nothing but what is written down is to be used.
    """
    words = [word for word in arguments[:2] if not word.startswith("-")]
    if len(words) < len(arguments[:2]) or words in ([], *([group] for group in GROUPS)):
        return None
    if any(name.split()[: len(words)] == words or [name] == words[:1] for name in _CORE):
        return None
    if os.geteuid() == 0 and "SUDO_UID" in os.environ:
        return _with_builtin(plugin_commands())
    if any(command.name.split()[: len(words)] == words for command in plugin_commands()):
        return None
    from banger.cli.client import Client

    with contextlib.suppress(BangerError):  # then it is an unknown command
        if not _is_of_now(Client()):
            Client().call("daemon.status")
    return None


def _is_of_now(client: Client) -> bool:
    """Tell whether what is written down is what the plugins declare that are installed now."""
    try:
        content = json.loads(client.paths.commands.read_text())
        return bool(content["fingerprint"] == client.fingerprint)
    except Exception:  # as above
        return False


def _with_builtin(written: list[Command]) -> list[Command]:
    """Return commands with those that banger's own plugins declare."""
    from banger.plugins import Plugins, find_plugins

    plugins = Plugins()
    plugins.load([point for point in find_plugins() if point.builtin and point.name != "core"])
    declared = {command.name: command for _, command in plugins.declared("commands")}
    return list(({command.name: command for command in written} | declared).values())


def _package(command: Command) -> str:
    return command.target.partition(":")[0].partition(".")[0]


def _is_installed(package: str) -> bool:
    """Tell whether a package is there, without importing anything of it."""
    from importlib.util import find_spec

    return package in sys.modules or (package != "" and find_spec(package) is not None)


_CORE = [command.name for command in COMMANDS]
_CORE += [alias for alias, full in ALIASES.items() if full in _CORE]


def _hides_ours(name: str) -> bool:
    """Tell whether a command would stand in the place of one of ours or of a group, or turn one into a group."""
    return any(f"{name} " == f"{ours} "[: len(name) + 1] or name.startswith(f"{ours} ") for ours in _CORE)


def make_cli(declared: Iterable[Command] | None = None) -> click.Group:
    """Return the root command.

    :param declared: what plugins declare; what the daemon wrote down of it when not given.
    """
    commands = [*COMMANDS, *(plugin_commands() if declared is None else declared)]
    known = {command.name: command for command in commands}
    aliases = {alias: known[full] for alias, full in ALIASES.items() if full in known and alias not in known}
    root = LazyGroup("", commands, "A disposable Linux machine of your own with one command.", aliases)
    root.epilog = "Start with: banger vm run --rm -- uname -a"
    root.params.append(host_option())
    root.params.append(
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Show version, commit and build time and exit.",
        )
    )
    root.no_args_is_help = True
    return root


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from banger.build import version_line

        click.echo(version_line())
        ctx.exit()
