"""``vm console``: the serial line of a VM, for when nothing else in it answers."""

from __future__ import annotations

import os

import click

from banger.cli.client import Client
from banger.errors import UsageError


@click.command()
@click.argument("vm")
@click.option(
    "--escape", default="~", show_default=True, metavar="CHAR", help="leave with CHAR and a dot; none: never"
)
def console(vm: str, escape: str) -> int:
    """Sit down at a VM's serial console: what its kernel prints, and a shell where the guest has systemd.

    It needs neither network nor agent in the guest. Leave it with ~. at the beginning of a line. What was printed
    before, and while nobody was there: banger vm logs.
    """
    from banger.cli.escape import SessionLeft, check_escape
    from banger.cli.output import dim, say
    from banger.cli.terminal import Session, has_terminal, open_stream

    character = check_escape(escape)
    if not has_terminal():
        raise UsageError("a console needs a terminal", hint=f"banger vm logs -f {vm} follows it without one")
    answer = Client().call("vm.console.open", {"vm": vm})
    with open_stream(answer["socket"], answer["token"]) as connection:
        leave = f"leave it with {character}." if character else "it ends with the VM"
        say(dim(f"the console of {answer['vm']}: Enter wakes it, {leave}"))
        try:
            return Session(connection, raw=os.isatty(0), escape=character).run()
        except SessionLeft:
            say(f"\r\nleft; {answer['vm']} runs on")
            return 0
