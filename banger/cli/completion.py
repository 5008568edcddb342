"""``completion``: scripts for shells, and what they are answered when somebody presses Tab.

The answer comes within moments or not at all: it never starts a daemon, waits half a second for one at most, and says
nothing on the terminal when something is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

_VARIABLE = "_BANGER_COMPLETE"
#: click's zsh script, found through fpath, completes at the first Tab, which loads it, but not at the second: the
#: function's body is the whole script then, called and not loading any more.
_LOADED = "[[ $zsh_eval_context[-1] == loadautofunc ]]"
_LOADED_OR_CALLED = "[[ $zsh_eval_context[-1] == loadautofunc || ${funcstack[1]-} == _banger ]]"
#: In bash a path follows ``VM:`` at once.
_LAST = "\n    return 0\n}"
_NO_BLANK = "\n    [[ ${COMPREPLY[0]-} == *: ]] && compopt -o nospace\n"
#: Seconds that a daemon gets to say what there is.
_PATIENCE = 0.5


@click.command(
    epilog="\b\nbash:  banger completion bash > ~/.local/share/bash-completion/completions/banger\n"
    "zsh:   banger completion zsh > ~/.zfunc/_banger    (with fpath+=~/.zfunc before compinit)\n"
    "fish:  banger completion fish > ~/.config/fish/completions/banger.fish"
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets a shell complete commands, options and names of VMs, images and kernels."""
    from click.shell_completion import get_completion_class

    from banger.cli.group import make_cli

    shells = get_completion_class(shell)
    assert shells is not None, "the choices above are click's"
    script = shells(make_cli(), {}, "banger", _VARIABLE)
    text = script.source_template % script.source_vars()
    click.echo(text.replace(_LOADED, _LOADED_OR_CALLED).replace(_LAST, _NO_BLANK + _LAST).strip())


def complete(arguments: list[str]) -> int:
    """Answer a shell that asks how to go on; whatever goes wrong, the line being typed stays as it is."""
    from banger.cli.group import make_cli

    try:
        make_cli().main(arguments, prog_name="banger", complete_var=_VARIABLE)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception:
        if os.environ.get("BANGER_DEBUG"):
            raise
    return 1


class LiveName(StringParamType):
    """Text that names something which the daemon knows: any text is taken, and what there is can be completed.

    :param kind: ``vm``, ``image``, ``kernel``, or with ``-source`` what can be pulled as well; ``offered-`` and what
        plugins offer of.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        given = ctx.params.get(param.name or "")
        taken = set(given) if isinstance(given, tuple) else set()
        return [
            CompletionItem(name, help=what)
            for name, what in _live_names(self.kind)
            if name.startswith(incomplete) and name not in taken
        ]


class CopyPlace(click.Path):
    """One side of ``vm cp``: a file of this host, or ``VM:`` and a path in it, which is not looked up."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        if ":" in incomplete and "/" not in incomplete.partition(":")[0]:
            return []
        names = _live_names("vm") if "/" not in incomplete else []
        places = [
            CompletionItem(f"{name}:", help=what) for name, what in names if name.startswith(incomplete)
        ]
        return [
            *super().shell_complete(ctx, param, incomplete),
            *places,
        ]  # bash takes files where nothing else fits


#: Parameters that name something, by the first word of their command and their own name; ``*``: any command.
_LIVE = {
    ("*", "vm"): "vm",
    ("*", "vms"): "vm",
    ("*", "image"): "image-source",
    ("*", "kernel"): "kernel-source",
    ("*", "vmm"): "offered-vmms",
    ("*", "network"): "offered-networks",
    ("*", "auth"): "offered-auth",
    ("*", "with_"): "offered-capabilities",
    ("*", "without"): "offered-capabilities",
    ("image", "name"): "image",
    ("image", "names"): "image",
    ("image", "reference"): "image-source",
    ("kernel", "name"): "kernel",
    ("kernel", "names"): "kernel",
    ("kernel", "reference"): "kernel-source",
}


#: Parameters that name a file or a directory of this host.
_PATHS = ("env_file", "output", "path")


def add_live_names(command: click.Command, family: str) -> None:
    """Let the parameters of a command that take any text complete to what the daemon knows, or to files.

    :param family: the first word of the command's full name.
    """
    for parameter in command.params:
        if command.name == "cp" and isinstance(parameter, click.Argument):
            parameter.type = CopyPlace(path_type=str)
        elif type(parameter.type) is StringParamType and parameter.name in _PATHS:
            parameter.type = click.Path()
        elif type(parameter.type) is StringParamType:
            kind = _LIVE.get((family, parameter.name or ""), _LIVE.get(("*", parameter.name or "")))
            is_new = isinstance(parameter, click.Option) and parameter.name == "name"
            if kind is not None and not is_new:
                parameter.type = LiveName(kind)


def _live_names(kind: str) -> list[tuple[str, str]]:
    from banger.cli.client import Client
    from banger.errors import BangerError

    what, _, source = kind.partition("-")
    try:
        answer = Client().peek(f"{what}.list", timeout=_PATIENCE)
        if what == "offered":
            return list(answer[source].items())
        things: Iterable[dict[str, Any]] = answer[f"{what}s"]
        if what == "vm":
            return [(str(vm["name"]), f"{vm['state']}, {vm['image_name']}") for vm in things]
        here = [(str(thing["name"]), "here") for thing in things]
        known = {name for name, _ in here}
        rest = answer.get("available", ()) if source else ()
        return [*here, *((str(name), "can be pulled") for name in rest if str(name) not in known)]
    except (BangerError, OSError, KeyError, TypeError, ValueError):
        return []
