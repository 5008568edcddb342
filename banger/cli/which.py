"""``banger --host``: which daemon the rest of a command line means."""

from __future__ import annotations

import os

import click

from banger.errors import UsageError


def take_host(arguments: list[str]) -> list[str]:
    """Take ``--host`` off the front of a command line, so that all that is looked up from now on is that daemon's."""
    option, equals, value = arguments[0].partition("=") if arguments else ("", "", "")
    rest = arguments[1:]
    if option != "--host" or not (equals or rest):
        return arguments
    if not equals:
        value, *rest = rest
    choose_daemon(value)
    return rest


def choose_daemon(host: str) -> None:
    """Mean the user's own daemon, the host's, or the one at a socket, here and in every program started from here.

    :raises UsageError: it is none of these.
    """
    if host in ("user", "system"):
        os.environ.update(BANGER_MODE=host, BANGER_SOCKET="")
    elif os.path.isabs(host):
        os.environ["BANGER_SOCKET"] = host
    else:
        raise UsageError(
            f"--host {host[:80]} is no daemon", hint="user, system, or the absolute path of a daemon's socket"
        )


def host_option() -> click.Option:
    """Return the option, for help and completion, and for wherever else in front of the command it stands."""
    return click.Option(
        ["--host"],
        metavar="DAEMON",
        expose_value=False,
        callback=_choose,
        help="Daemon that is meant: user, system, or a socket's path. [the host's where it is yours, else your own]",
    )


def _choose(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        choose_daemon(value)
