"""What plugins add to commands of ours: options, a check before anything is done, work once the VM runs.

An extension is an entry point of the group ``banger.vm-run``, ``banger.vm-create``, ``banger.vm-exec`` or
``banger.vm-set``. It is part of a command and needed before a daemon ever ran, so it is found where plugins are found,
and not in what the daemon wrote down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from banger.cli.handover import open_handover as open_handover
from banger.errors import PluginError

if TYPE_CHECKING:
    from banger.cli.client import Client


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how the command runs.

    :param workdir: directory in the guest; None leaves the user's home.
    :param wrapper: words put before the command, when there is one.
    """

    workdir: str | None = None
    wrapper: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What an extension has to do for a VM that ``vm run`` makes.

    :param arrive: called once the VM runs, with client, VM and whether what was staged is on its disk.
    :param stage: called before the VM is made, with an empty directory that becomes the beginning of its ``/root``;
        tells whether it put something there.
    """

    arrive: Callable[[Client, str, bool], Place]
    stage: Callable[[Path], bool]


#: What is to be done once a VM runs.
Arrive = Callable[["Client", str], Place]


@dataclass(frozen=True, slots=True)
class Extension:
    """What a plugin adds to a command.

    :param params: click's options and arguments.
    :param plan: gets the values of everything the command was given, takes its own out, or puts others' in their place,
        checks them before anything is done, and returns what is to be done once the VM runs: a function of client and
        VM that returns the :class:`Place`, or :class:`Work`. None when it has nothing to do, as always with
        ``vm create`` and ``vm set``.
    """

    params: tuple[click.Parameter, ...]
    plan: Callable[[MutableMapping[str, Any]], Arrive | Work | None]


class ExtendedCommand(click.Command):
    """A command with the parameters of its extensions.

    :param group: the entry points' group.
    :param dashes: everything after ``--`` is the guest's command; before it stand options and what extensions take.
    """

    def __init__(self, *args: Any, group: str = "", dashes: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._group, self._dashes = group, dashes
        self._extensions: tuple[Extension, ...] | None = None

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """The extensions, imported when they are first asked for."""
        if self._extensions is None:
            self._extensions = load_extensions(self._group)
        return self._extensions

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        ours = super().get_params(ctx)
        theirs = [param for extension in self.extensions for param in extension.params]
        return [*ours[:-1], *theirs, ours[-1]]  # --help is the last

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not self._dashes:
            return super().parse_args(ctx, args)
        split = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:split])
        ctx.params["command"] = tuple(args[split + 1 :])
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        return [*pieces, "[-- COMMAND...]"] if self._dashes else pieces


class Plans:
    """What the extensions of a command have to do, once they have checked what was asked for."""

    def __init__(self, plans: Sequence[Arrive | Work]) -> None:
        self._plans = plans

    @contextmanager
    def staged(self, staging: Path) -> Iterator[str | None]:
        """Let extensions fill a directory for a new VM and give its name; None when none of them did.

        :param staging: where directories are made that a daemon takes over. What it did not take is removed.
        """
        stages = [plan.stage for plan in self._plans if isinstance(plan, Work)]
        if not stages:
            yield None
            return
        with open_handover(staging) as folder:
            filled = [stage(folder) for stage in stages]
            yield folder.name if any(filled) else None

    def __call__(self, client: Client, vm: str, *, staged: bool = False) -> Place:
        """Do what is to be done once a VM runs; return where its command runs.

        :param staged: what was staged is on the VM's disk.
        """
        places = [
            plan.arrive(client, vm, staged) if isinstance(plan, Work) else plan(client, vm)
            for plan in self._plans
        ]
        workdir = next((place.workdir for place in places if place.workdir is not None), None)
        return Place(workdir, tuple(word for place in places for word in place.wrapper))


def plan_extensions(choices: MutableMapping[str, Any]) -> Plans:
    """Let a command's extensions check what was asked for; return what they have to do."""
    command = click.get_current_context().command
    assert isinstance(command, ExtendedCommand)
    plans = (extension.plan(choices) for extension in command.extensions)
    return Plans([plan for plan in plans if plan is not None])


def load_extensions(group: str) -> tuple[Extension, ...]:
    """Import what the entry points of a group name, by name; PluginError naming the one that cannot be."""
    from banger.config.fingerprint import entry_points

    lines = sorted(line.partition(" ")[2] for line in entry_points(group))
    return tuple(_load(*(part.strip() for part in line.split("=", 1))) for line in lines)


def _load(name: str, target: str) -> Extension:
    module, _, attribute = target.partition(":")
    try:
        loaded = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"what '{name}' adds to this command cannot be loaded: {error}", hint="banger doctor"
        ) from error
    if not isinstance(loaded, Extension):
        raise PluginError(f"{target} is no extension of a command", hint="banger doctor")
    return loaded


def wrap_command(place: Place, command: Sequence[str]) -> tuple[str, ...]:
    """Return the command as it is to be run in this place; a shell stays what it is."""
    return (*place.wrapper, *command) if command else ()
