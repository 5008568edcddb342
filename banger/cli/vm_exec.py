"""``vm exec``, and running a command for ``vm run``."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from banger.cli.client import Client, read_environment
from banger.cli.extension import ExtendedCommand, plan_extensions, wrap_command


@click.command(
    "exec", cls=ExtendedCommand, group="banger.vm-exec", context_settings={"allow_interspersed_args": False}
)
@click.option("--env", "-e", multiple=True, metavar="NAME[=VALUE]", help="a variable for the command")
@click.option("--user", "-u", help="user in the guest [root]")
@click.option("--workdir", "-w", help="directory in the guest [the user's home]")
@click.option(
    "--tty/--no-tty", "-t/-T", "terminal", default=None, help="a terminal in the guest [when this is one]"
)
@click.argument("vm")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def exec_command(
    env: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    terminal: bool | None,
    vm: str,
    command: tuple[str, ...],
    **choices: Any,
) -> int:
    """Run COMMAND in a running VM, or a shell; its exit status becomes banger's.

    \b
      banger vm exec brisk-otter -- uname -r
      tar c . | banger vm exec brisk-otter -- tar x -C /srv
    """
    # From the VM's name on all belongs to the command, the customary -- before it included.
    command = command[1:] if command[:1] == ("--",) else command
    environment, client = read_environment(env), Client()
    place = plan_extensions(choices)(client, vm)
    command, workdir = wrap_command(place, command), workdir or place.workdir
    return run_in_vm(client, vm, command, env=environment, user=user, workdir=workdir, terminal=terminal)


def run_in_vm(
    client: Client,
    vm: str,
    command: tuple[str, ...],
    *,
    env: dict[str, str],
    user: str | None = None,
    workdir: str | None = None,
    terminal: bool | None = None,
    remove: bool = False,
) -> int:
    """Run a command, or a login shell, in a VM; return its exit status."""
    from banger.cli.terminal import CommandError, Session, has_terminal, open_stream, terminal_size

    if terminal is None:
        terminal = has_terminal()
    rows, columns = terminal_size()
    params: dict[str, Any] = {
        "vm": vm,
        "argv": list(command) or ["/bin/sh", "-c", _SHELL],
        "env": {**({"TERM": os.environ.get("TERM", "xterm")} if terminal else {}), **env},
        "tty": terminal,
        "rows": rows,
        "columns": columns,
        "remove": remove,
    }
    params |= {key: value for key, value in (("user", user), ("cwd", workdir)) if value is not None}
    answer = client.call("vm.exec.open", params)
    with open_stream(answer["socket"], answer["token"]) as connection:
        try:
            return Session(connection, raw=terminal and sys.stdin.isatty()).run()
        except CommandError as error:
            from banger.cli.main import show_error

            show_error(error)
            return error.status_code


#: The user's own shell, as a login shell, whatever the image has.
_SHELL = 'exec "${SHELL:-/bin/sh}" -l'
