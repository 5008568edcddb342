"""``vm exec``, and running a command for ``vm run``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import click

from banger.cli.client import Client
from banger.cli.extension import ExtendedCommand, plan_extensions, wrap_command
from banger.cli.filter import filter_option
from banger.errors import BangerError, GuestError, UsageError

F = Callable[..., Any]

#: By the exit status of a command that could not be run.
_REMEDIES = {
    127: "it is not in the guest, or not in its PATH: install it there, or name its path",
    126: "make it executable (chmod +x), or name the program that reads it: -- sh FILE",
}
#: Seconds that a VM whose stream broke gets to show what became of it.
_SETTLE = 3.0


def command_options(command: F) -> F:
    """Add the options of a command in a guest."""
    options = (
        click.option("--env", "-e", multiple=True, metavar="NAME[=VALUE]", help="a variable for the command"),
        click.option(
            "--env-file", multiple=True, metavar="FILE", help="variables from a file, NAME=VALUE lines"
        ),
        click.option(
            "--secret",
            multiple=True,
            metavar="NAME[=SOURCE]",
            help="a file in the guest's memory, from env:VARIABLE, file:PATH, cmd:COMMAND or keyring:SERVICE/USER",
        ),
        click.option(
            "--ssh-agent",
            is_flag=True,
            help="lend it your ssh agent, to list keys and to sign, while this runs",
        ),
        click.option(
            "--ssh-key",
            multiple=True,
            metavar="KEY",
            help="only this one: fingerprint or comment, see ssh-add -l",
        ),
        click.option("--user", "-u", help="user in the guest [the image's, else root]"),
        click.option("--workdir", "-w", help="directory in the guest [the user's home]"),
        click.option(
            "--proxy/--no-proxy",
            envvar="BANGER_PROXY",
            default=None,
            help="set your proxy variables in the guest [as configured: no]",
        ),
        click.option(
            "--escape",
            default="~",
            show_default=True,
            metavar="CHAR",
            help="leaves a terminal when typed at the beginning of a line and followed by a dot; none: no such thing",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(
    "exec", cls=ExtendedCommand, group="banger.vm-exec", context_settings={"allow_interspersed_args": False}
)
@command_options
@click.option(
    "--tty/--no-tty", "-t/-T", "terminal", default=None, help="a terminal in the guest [when this is one]"
)
@click.option("--all", "every", is_flag=True, help="in every running VM; the command follows at once")
@filter_option
@click.argument("vm", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def exec_command(
    env: tuple[str, ...],
    env_file: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    proxy: bool | None,
    escape: str,
    secret: tuple[str, ...],
    ssh_agent: bool,
    ssh_key: tuple[str, ...],
    terminal: bool | None,
    every: bool,
    filters: tuple[str, ...],
    vm: str | None,
    command: tuple[str, ...],
    **choices: Any,
) -> int:
    """Run COMMAND in a running VM, or a shell; its exit status becomes banger's.

    Several VMs, by names with commas between them, --all or --filter, run it side by side, and their lines begin with
    their names.

    \b
      banger vm exec brisk-otter -- uname -r
      tar c . | banger vm exec brisk-otter -- tar x -C /srv
      banger vm exec brisk-otter            a shell; ~. at the beginning of a line leaves it
      banger vm exec --filter label=env=test -- uptime
    """
    from banger.cli.environment import collect_environment
    from banger.cli.escape import SessionLeft, check_escape
    from banger.cli.lend import collect_loan
    from banger.cli.terminal import has_terminal

    if every or filters or "," in (vm or ""):
        if secret or ssh_agent or ssh_key:
            raise UsageError(
                "secrets and ssh agents are lent to one VM at a time",
                hint="banger vm exec --secret NAME VM -- COMMAND, for each",
            )
        return _exec_in_many(vm, command, every, filters, env, env_file, (user, workdir, proxy))
    if vm is None:
        raise UsageError("in which VM?", hint="banger vm exec VM -- COMMAND")
    # From the VM's name on all belongs to the command, the customary -- before it included.
    if command and command[0].startswith("-") and command[0] != "--":
        raise UsageError(
            f"{command[0][:40]} stands after the VM's name, where the command begins",
            hint=f"banger vm exec {command[0][:40]} … {vm} -- COMMAND",
        )
    command = command[1:] if command[:1] == ("--",) else command
    client, character, environment = Client(), check_escape(escape), collect_environment(env, env_file)
    loan = collect_loan(secret, ssh_agent, ssh_key)
    place = plan_extensions(choices)(client, vm)
    try:
        with loan.lent(client, vm) as lent:
            status = run_in_vm(
                client,
                vm,
                wrap_command(place, command),
                env={**lent, **environment},
                user=user,
                workdir=workdir or place.workdir,
                terminal=terminal,
                proxy=proxy,
                escape=character,
            )
    except SessionLeft:
        say_left(client, vm, command)
        return 0
    if not command and terminal is not False and has_terminal():
        say_running(client, vm)
    return status


def _exec_in_many(
    vm: str | None,
    command: tuple[str, ...],
    every: bool,
    filters: tuple[str, ...],
    env: tuple[str, ...],
    env_file: tuple[str, ...],
    others: tuple[str | None, str | None, bool | None],
) -> int:
    from banger.cli.environment import collect_environment, language, time_zone
    from banger.cli.vm_exec_many import exec_in_many
    from banger.cli.vm_many import Meant

    several = every or bool(filters)
    words = (vm, *command) if several and vm is not None else command
    optional = zip(
        ("user", "cwd", "proxy", "time_zone", "language"), (*others, time_zone(), language()), strict=True
    )
    params: dict[str, Any] = {key: value for key, value in optional if value is not None}
    params["argv"] = list(words[1:] if words[:1] == ("--",) else words)
    params["env"] = collect_environment(env, env_file)
    names = () if several or vm is None else tuple(filter(None, vm.split(",")))
    return exec_in_many(Meant(names, every, filters), params)


def run_in_vm(
    client: Client,
    vm: str,
    command: tuple[str, ...],
    *,
    env: dict[str, str],
    user: str | None = None,
    workdir: str | None = None,
    terminal: bool | None = None,
    proxy: bool | None = None,
    escape: str | None = None,
    image_command: bool = False,
) -> int:
    """Run a command, or a login shell, in a VM; return its exit status.

    :param image_command: without a command, what the image is made to run comes before the shell.
    :raises SessionLeft: the user typed the escape; what runs goes on.
    """
    from banger.cli.environment import language, terminal_environment, time_zone
    from banger.cli.terminal import CommandError, Refusal, Session, has_terminal, open_stream, terminal_size

    if terminal is None:
        terminal = has_terminal()
    rows, columns = terminal_size()
    params: dict[str, Any] = {
        "vm": vm,
        "argv": list(command) or ["/bin/sh", "-c", _SHELL],
        "env": {**(terminal_environment() if terminal else {}), **env},
        "tty": terminal,
        "rows": rows,
        "columns": columns,
        "image_command": image_command and not command,
    }
    surroundings = (("time_zone", time_zone()), ("language", language()))
    optional = (("user", user), ("cwd", workdir), ("proxy", proxy), *surroundings)
    params |= {key: value for key, value in optional if value is not None}
    answer = client.call("vm.exec.open", params)
    with open_stream(answer["socket"], answer["token"]) as connection:
        try:
            return Session(connection, raw=terminal and os.isatty(0), escape=escape).run()
        except CommandError as error:
            from banger.cli.main import show_error

            if len(command) == 1 and " " in command[0]:
                import shlex

                error.hint = f"that is one word; a shell takes lines: -- sh -c {shlex.quote(command[0])}"
            error.hint = error.hint or _REMEDIES.get(error.status_code)
            show_error(error)
            return error.status_code
        except Refusal as error:
            if error.code == "no-user":
                error.message = f"there is no user '{user}' in '{answer['vm']}'"
                error.hint = f"who there is: banger vm exec {answer['vm']} -- getent passwd"
            elif error.code == "cwd":
                error.hint = f"make it first: banger vm exec {answer['vm']} -- mkdir -p DIRECTORY"
            elif error.code == "limit":
                error.hint = f"let some of what runs in '{answer['vm']}' end first"
            error.hint = error.hint or f"how it is: banger vm health {answer['vm']}"
            raise
        except GuestError as error:
            raise explain_loss(client, answer["vm"], error) from error


def explain_loss(client: Client, vm: str, error: GuestError) -> BangerError:
    """Return what became of a VM whose stream broke: it was stopped or deleted, or it is none of that."""
    error.hint = error.hint or f"how it is: banger vm health {vm}; its console: banger vm logs {vm}"
    deadline = time.monotonic() + _SETTLE
    while time.monotonic() < deadline:
        try:
            record = client.call("vm.show", {"vm": vm})["vm"]
        except BangerError as problem:
            if problem.type == "not-found":
                return GuestError(f"'{vm}' was deleted while this ran in it", hint="see: banger vm list")
            return error
        state = str(record["state"])
        if state != "running" and not record["deleting"]:
            what = {"stopping": "is being stopped", "stopped": "was stopped"}.get(
                state, f"is in state {state}"
            )
            return GuestError(f"'{vm}' {what}: what ran in it has ended", hint=f"banger vm start {vm}")
        time.sleep(0.1)
    return error


def say_running(client: Client, reference: str) -> None:
    """Say that a VM goes on after a shell, what it takes, and how to be rid of it; nothing when it is gone."""
    from banger.cli.output import clean, dim, say

    try:
        vm = client.call("vm.show", {"vm": reference})["vm"]
    except BangerError:
        return
    if vm["state"] == "running":
        name, memory = clean(vm["name"]), (vm.get("running_spec") or vm["spec"])["memory_mib"]
        say(dim(f"{name} is still running with {memory} MiB; delete it: banger vm delete {name}"))


def say_left(client: Client, reference: str, command: tuple[str, ...]) -> None:
    """Say what goes on after the user left a terminal."""
    from banger.cli.output import say

    what = os.path.basename(command[0]) if command else "the shell"
    say(f"\r\nleft; {ascii(what)[1:-1]} goes on in {reference}, and what it prints is thrown away")
    say_running(client, reference)


#: The user's own shell, as a login shell, whatever the image has.
_SHELL = 'exec "${SHELL:-/bin/sh}" -l'
