"""``vm ssh``: the system's OpenSSH, told everything by our own ssh_config."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import click

from banger.cli.client import Client
from banger.cli.ssh_proxy import FIRST


@click.command("ssh", context_settings={"allow_interspersed_args": False})
@click.option("--user", "-u", help="user in the guest [root]")
@click.argument("vm")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh_command(user: str | None, vm: str, command: tuple[str, ...]) -> int:
    """Log in to a running VM with ssh, or run COMMAND there; ssh's exit status becomes banger's.

    \b
      banger vm ssh brisk-otter
      banger vm ssh brisk-otter -- uname -r
    """
    from banger.errors import HostError, UsageError

    command = command[1:] if command[:1] == ("--",) else command
    if user is not None and (not user or user.startswith("-")):
        raise UsageError(f"--user {user[:40]!r} is no user's name", hint="banger vm ssh --user NAME VM")
    program = shutil.which("ssh")
    if program is None:
        raise HostError("ssh is not installed", hint="sudo apt install openssh-client; or: banger vm exec")
    client = Client()
    setup = client.call("vm.ssh.prepare", {"vm": vm})
    login = ["-l", user] if user else []
    # a daemon of an older version, busy and therefore not replaced, prepares no connection
    first = {FIRST: f"{setup['host']} {setup['token']} {setup['socket']}"} if setup.get("token") else {}
    status = _run([program, "-F", setup["config"], *login, setup["host"], *command], first)
    if not command and sys.stderr.isatty():
        from banger.cli.vm_exec import say_running

        say_running(client, setup["vm"])
    return status


def _run(argv: list[str], variables: dict[str, str]) -> int:
    """Run ssh with our standard streams; what the terminal sends is for ssh alone."""
    watched = (signal.SIGINT, signal.SIGQUIT)
    before = {number: signal.signal(number, lambda *_: None) for number in watched}
    process = subprocess.Popen(argv, env={**os.environ, **variables})
    try:
        status = process.wait()
    finally:
        process.terminate()  # we were ended: nothing when ssh ended by itself
        process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
