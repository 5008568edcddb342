"""Commands that start, stop, freeze, change and delete VMs."""

from __future__ import annotations

import sys
from typing import Any

import click

from banger.cli.client import Client
from banger.cli.extension import ExtendedCommand, plan_extensions
from banger.cli.output import print_json
from banger.cli.vm import json_option, run_operation
from banger.cli.vm_many import DOWN, Meant, run_on, vms_argument
from banger.errors import UsageError

_SIGNALS = ("TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "ABRT")

wait_option = click.option(
    "--wait", type=click.Choice(["agent", "system"]), default="system", show_default=True
)
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(0, 3600),
    default=30.0,
    show_default=True,
    help="seconds the guest gets to power off",
)


def _is_down(vm: dict[str, Any]) -> bool:
    return vm["state"] in DOWN


def _is_up(vm: dict[str, Any]) -> bool:
    return not _is_down(vm)


def _is_running(vm: dict[str, Any]) -> bool:
    return bool(vm["state"] == "running")


@click.command()
@vms_argument
@click.option("--plan", is_flag=True, help="print the steps of the start, start nothing")
@click.option("--overcommit", is_flag=True, help="although the host has not enough memory now")
@wait_option
@json_option
def start(meant: Meant, plan: bool, overcommit: bool, wait: str, as_json: bool) -> int:
    """Start VMs that are not running."""
    if plan:
        if len(meant.vms) != 1:
            raise UsageError("--plan is about one VM", hint="banger vm start --plan VM")
        _show_plan(meant.vms[0], as_json)
        return 0
    params = {"wait": wait, "overcommit": overcommit}
    return run_on("vm.start", meant, params, fits=_is_down, done="started", as_json=as_json)


def _show_plan(vm: str, as_json: bool) -> None:
    steps = Client().call("vm.plan", {"vm": vm})["steps"]
    if as_json:
        print_json(steps)
        return
    for number, step in enumerate(steps, 1):
        print(f"{number:2}. {step}")


@click.command()
@vms_argument
@timeout_option
@json_option
def stop(meant: Meant, timeout: float, as_json: bool) -> int:
    """Stop VMs through their init; their disks stay."""
    params = {"timeout": timeout}
    return run_on("vm.stop", meant, params, fits=_is_up, done="stopped", as_json=as_json)


@click.command()
@vms_argument
@timeout_option
@wait_option
@json_option
def restart(meant: Meant, timeout: float, wait: str, as_json: bool) -> int:
    """Stop VMs and start them again; changed sizes and ports take effect."""
    params = {"timeout": timeout, "wait": wait}
    return run_on("vm.restart", meant, params, fits=_is_up, done="restarted", as_json=as_json)


@click.command()
@vms_argument
@click.option(
    "--signal",
    "-s",
    default="KILL",
    show_default=True,
    metavar="NAME",
    help="sent to the VM's process, which is then ended",
)
@json_option
def kill(meant: Meant, signal: str, as_json: bool) -> int:
    """End VMs at once; their disks stay, and what the guests had not written yet is lost."""
    name = signal.upper().removeprefix("SIG")
    if name not in _SIGNALS:
        raise UsageError(f"--signal {signal[:40]} is none of those", hint=", ".join(_SIGNALS))
    params = {"signal": name}
    return run_on("vm.kill", meant, params, fits=_is_up, done="killed", as_json=as_json)


@click.command()
@vms_argument
@click.option("--force", is_flag=True, help="pass over what cannot be released")
@click.option("--yes", "-y", is_flag=True, help="with --all or --filter: do not ask")
@json_option
def delete(meant: Meant, force: bool, yes: bool, as_json: bool) -> int:
    """Delete VMs and their disks."""
    if meant.several and not yes:
        which = "every VM that fits" if meant.filters else "every VM"
        if not sys.stdin.isatty():
            raise UsageError(f"that deletes {which} and its disks", hint="banger vm delete --all --yes")
        click.confirm(f"Delete {which} and its disks?", abort=True, err=True)
    return run_on("vm.delete", meant, {"force": force}, fits=lambda _: True, done="deleted", as_json=as_json)


@click.command()
@vms_argument
@json_option
def pause(meant: Meant, as_json: bool) -> int:
    """Freeze VMs: they keep their memory and use no processor."""
    return run_on("vm.pause", meant, {}, fits=_is_running, done="paused", as_json=as_json)


@click.command()
@vms_argument
@json_option
def resume(meant: Meant, as_json: bool) -> int:
    """Let paused VMs go on."""
    return run_on("vm.resume", meant, {}, fits=_is_running, done="goes on", as_json=as_json)


@click.command("set", cls=ExtendedCommand, group="banger.vm-set")
@vms_argument
@click.option("--vcpu", type=int, help="processors")
@click.option("--memory", help="like 2G or 512M")
@click.option("--disk-size", help="work disk, /root; it only grows")
@click.option("--overlay-size", help="root disk; it only grows")
@click.option("--net", "network", help="another network mode, with an address of its own")
@click.option("--publish", "-p", multiple=True, metavar="[HOST:]GUEST", help="make a guest's port reachable")
@click.option("--unpublish", multiple=True, type=int, metavar="GUEST", help="no longer")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="a note to find it again by; at once")
@click.option("--unlabel", multiple=True, metavar="KEY", help="no longer")
@click.option("--with", "with_", multiple=True, metavar="NAME[:K=V,…]", help="turn a capability on")
@click.option("--without", multiple=True, metavar="NAME", help="turn a capability off")
@click.option("--overcommit", is_flag=True, help="although the host's disk has no room for that")
@json_option
def set_command(meant: Meant, as_json: bool, **choices: Any) -> int:
    """Change VMs: sizes, network, ports, labels, capabilities; a running one has the rest from its next start.

    \b
      banger vm set web --memory 2G --publish 8080
      banger vm restart web
    """
    plan_extensions(choices)
    choices["with"] = choices.pop("with_")
    params = {key: value for key, value in choices.items() if value not in (None, ())}
    return run_on("vm.set", meant, params, fits=lambda _: True, done="changed", as_json=as_json)


@click.command()
@click.argument("vm")
@click.argument("name")
@json_option
def rename(vm: str, name: str, as_json: bool) -> None:
    """Give a VM another name."""
    detail = run_operation("vm.rename", {"vm": vm, "name": name})
    if as_json:
        print_json(detail)
    else:
        print(f"{name} is its name now")


@click.command()
@click.argument("vm")
@click.option(
    "--for",
    "until",
    type=click.Choice(["agent", "system", "ssh", "running", "stopped"]),
    default="system",
    show_default=True,
    help="what to wait for",
)
@click.option(
    "--timeout", type=click.FloatRange(0, 86400), default=120.0, show_default=True, help="seconds at most"
)
@json_option
def wait(vm: str, until: str, timeout: float, as_json: bool) -> None:
    """Wait until a VM runs commands, has its services up, lets you in over ssh, or is stopped."""
    detail = run_operation("vm.wait", {"vm": vm, "until": until, "timeout": timeout})
    if as_json:
        print_json(detail)
    else:
        print(f"{detail['vm']['name']} is {detail['vm']['state']}")
