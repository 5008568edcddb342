"""Commands on banger itself."""

from __future__ import annotations

import sys
from typing import Any

import click

from banger.cli.client import Client
from banger.cli.output import clean, green, print_json, print_pairs, print_table, red, say, yellow
from banger.cli.vm import json_option
from banger.errors import BangerError, NotFoundError, UsageError


@click.command()
@json_option
def daemon_status(as_json: bool) -> None:
    """Show the daemon; exit status 1 when it does not run."""
    answer = Client().call("daemon.status", start=False)
    if as_json:
        print_json(answer)
        return
    from banger.cli.version import describe_build, describe_drift

    print_pairs(
        [
            ("version", describe_build(answer)),
            ("agent", describe_build(answer["agent"])),
            ("process", str(answer["pid"])),
            ("up for", f"{answer['uptime_seconds']:.0f} s"),
            ("socket", answer["socket"]),
            ("state", answer["state_directory"]),
            ("memory", f"{answer['memory_mib']:.0f} MiB"),
            ("running VMs", str(answer["running_vms"])),
            ("operations", str(answer["operations"])),
            *((f"service {line['name']}", _describe_service(line)) for line in answer["services"]),
        ]
    )
    for note in describe_drift(answer, answer):
        say(f"note: {clean(note)}")


def _describe_service(line: dict[str, Any]) -> str:
    """Return how a service is: what it reports while it runs, else its state and why."""
    detail = clean(line["detail"])
    return (
        (detail or "running")
        if line["state"] == "running"
        else ": ".join(filter(None, (line["state"], detail)))
    )


@click.command()
@click.option("--force", is_flag=True, help="even while operations are running, or when it does not answer")
@json_option
def daemon_stop(force: bool, as_json: bool) -> None:
    """End the daemon; VMs go on, and the next command starts it again."""
    from banger.cli.launch import end_daemon

    client = Client()
    if client.paths.service is not None:
        raise UsageError("the daemon is a service here", hint="sudo systemctl stop bangerd (VMs go on)")
    stopped = end_daemon(client, force=force)
    if as_json:
        print_json({"stopped": stopped})
    elif stopped:
        print("daemon stopped")
    else:
        say("the daemon does not run")


@click.command()
@click.option(
    "-n", "--lines", type=click.IntRange(0), default=100, show_default=True, help="how many of the last lines"
)
@click.option("--op", metavar="OP-ID", help="only what belongs to this operation; errors name it")
@json_option
def daemon_logs(lines: int, op: str | None, as_json: bool) -> None:
    """Print the end of the daemon's log; every line carries its operation's id."""
    from banger.config.paths import find_paths
    from banger.model.log_entry import parse_entries

    path = find_paths().log
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        raise NotFoundError(
            f"there is no log at {path} yet", hint="the daemon writes it, and banger vm list starts that"
        ) from None
    every = parse_entries(text.splitlines())
    entries = [entry for entry in every if op is None or entry.op == op][-lines:] if lines else []
    if op and not entries:
        raise NotFoundError(f"the log at {path} knows no {op[:80]}", hint="banger daemon logs")
    if as_json:
        print_json({"file": str(path), "lines": [entry.to_dict() for entry in entries]})
        return
    end = [line for entry in entries for line in entry.lines()]
    if sys.stdout.isatty():  # a log quotes whom it speaks of, guests too
        end = [clean(line.expandtabs()) for line in end]
    click.echo("\n".join(end))


@click.command()
@json_option
def plugins_list(as_json: bool) -> None:
    """List the installed plugins and their state."""
    plugins = Client().call("plugins.list")["plugins"]
    if as_json:
        print_json(plugins)
        return
    rows = [
        (
            plugin["name"],
            plugin["state"],
            f"{plugin['distribution']} {plugin['version']}",
            plugin["reason"] or plugin["summary"],
        )
        for plugin in plugins
    ]
    print_table(("NAME", "STATE", "DISTRIBUTION", "WHAT"), rows)
    for plugin in plugins:
        if plugin["hint"]:
            say(clean(f"{plugin['name']}: {plugin['hint']}"))


@click.command()
@click.option(
    "--repair",
    is_flag=True,
    help="remove what nothing refers to and is banger's own for certain; never a VM's disk",
)
@json_option
def doctor(as_json: bool, repair: bool) -> int:
    """Look at the host; exit status 1 when something FAILs."""
    try:
        answer = Client().call("doctor", {"repair": True} if repair else {})
    except BangerError as error:
        answer = _diagnose_alone(error)
    if as_json:
        print_json(answer)
        return 0 if answer["ok"] else 1
    paint = {"PASS": green, "WARN": yellow, "FAIL": red}
    for check in answer["checks"]:
        print(
            f"{paint[check['status']](check['status'], sys.stdout)}  {clean(check['name'])}: {clean(check['detail'])}"
        )
        if check["hint"] and check["status"] != "PASS":
            print(f"      {clean(check['hint'])}")
    return 0 if answer["ok"] else 1


def _diagnose_alone(error: BangerError) -> dict[str, Any]:
    """Look at the host without a daemon, which a broken configuration or database keeps from starting."""
    from dataclasses import asdict

    from banger.host.checks import CHECKS
    from banger.host.command import HostCommands
    from banger.host.diagnosis import Finding, run_checks
    from banger.model.check import CheckStatus

    found = [Finding("core", "daemon", CheckStatus.FAIL, error.message, error.hint)]
    found += run_checks(HostCommands(), [("core", check) for check in CHECKS])
    return {"checks": [asdict(finding) for finding in found], "ok": False}
