"""``system install``, ``status``, ``restart`` and ``uninstall``: in the command line's own process, as root."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import Any

import click

from banger.api import (
    HostCommands,
    HostError,
    Progress,
    UsageError,
    find_install,
    print_json,
    print_pairs,
    say,
)
from banger_system import installer
from banger_system.layout import DAEMON_UNIT, HELPER_UNIT, Layout
from banger_system.service import ask_daemon, find_unit
from banger_system.units import find_owner

_json = click.option("--json", "as_json", is_flag=True, help="print JSON")
_SUDO = 'sudo "$(command -v banger)" system'


@click.command()
@click.option("--owner", metavar="USER", help="whose VMs it runs [the user who calls sudo]")
@_json
def install(owner: str | None, as_json: bool) -> None:
    """Make banger two services of this host: a daemon that runs as USER, and a helper that is root.

    What they run is copied to /usr/local/lib/banger, where only root writes; nothing is downloaded. VMs that USER made
    before stay in user mode. A second call brings the services up to date; VMs go on.
    """
    _check_root("install --owner USER")
    named = owner or os.environ.get("SUDO_USER") or ""
    if not named:
        raise UsageError("whose VMs shall it run?", hint=f"{_SUDO} install --owner USER")
    user, progress = find_owner(named), Progress()
    try:
        answer = installer.install(user, Layout(), HostCommands(), lambda text: _tell(progress, text))
    finally:
        progress.end()
    if as_json:
        print_json({"owner": user.name, "uid": user.uid, "daemon": answer})
    else:
        say(f"installed for {user.name}: banger {answer['version']} answers; see: banger system status")


def _tell(progress: Progress, text: str) -> None:
    progress({"event": "stage", "stage": text})


@click.command()
@click.option("--force", is_flag=True, help="even while operations are under way")
@_json
def restart(force: bool, as_json: bool) -> None:
    """Start both services again and wait until the daemon answers; VMs go on."""
    _check_root("restart")
    answer = installer.restart(Layout(), HostCommands(), force=force)
    if as_json:
        print_json({"daemon": answer})
    else:
        say(f"the daemon answers again, with {answer['running_vms']} running VMs")


@click.command()
@_json
def status(as_json: bool) -> int:
    """Show the services, and whose they are; exit status 1 when there are none, or one does not run."""
    found = describe(Layout())
    if as_json:
        print_json(found)
        return 0 if found["ok"] else 1
    if found["install"] is None:
        say(f"banger is no service here; to make it one: {_SUDO} install --owner USER")
        return 1
    daemon = found["daemon"]
    print_pairs(
        [
            ("owner", f"{found['install']['owner']} ({found['install']['uid']})"),
            ("installed", f"{found['install']['version']} ({found['install']['commit'][:12]})"),
            *((unit["name"], _unit(unit)) for unit in found["units"]),
            ("daemon", f"answers, {daemon['running_vms']} running VMs" if daemon else "does not answer you"),
        ]
    )
    if not found["ok"]:
        say(f"hint: journalctl -u bangerd -u bangerd-root; {_SUDO} restart")
    return 0 if found["ok"] else 1


def describe(layout: Layout) -> dict[str, Any]:
    """Return what is installed and how it is; any user may ask."""
    found, commands = find_install(layout.install, layout.uid), HostCommands()
    units = [find_unit(name, commands) for name in (HELPER_UNIT, DAEMON_UNIT)] if found else []
    may_ask = found is not None and os.geteuid() in (0, found.uid)
    answer = ask_daemon(layout) if may_ask else None
    runs = bool(units) and all(unit.state == "active" for unit in units)
    return {
        "install": asdict(found) if found else None,
        "units": [asdict(unit) for unit in units],
        "daemon": answer,
        "ok": runs and (answer is not None or not may_ask),
    }


def _unit(unit: dict[str, Any]) -> str:
    state = f"{unit['state']} ({unit['detail']})" if unit["detail"] else unit["state"]
    return f"{state}, process {unit['pid']}" if unit["pid"] else state


@click.command()
@click.option("--force", is_flag=True, help="end VMs that run")
@click.option("--purge", is_flag=True, help="all VMs, images and kernels of system mode as well")
@click.option("--yes", "-y", is_flag=True, help="do not ask before --purge")
@_json
def uninstall(force: bool, purge: bool, yes: bool, as_json: bool) -> None:
    """Take the services away, and with --purge what they made. What user mode has stays."""
    _check_root("uninstall")
    if purge and not (yes or (sys.stdin.isatty() and _agreed())):
        raise UsageError("nothing was removed: nobody said yes", hint=f"{_SUDO} uninstall --purge --yes")
    done = installer.uninstall(Layout(), HostCommands(), force=force, purge=purge)
    if as_json:
        print_json(asdict(done))
        return
    say(
        f"removed: {', '.join(done.removed)}" if done.removed else "there is no service of banger's to remove"
    )
    if done.kept:
        say(f"stays: {', '.join(done.kept)}")


def _agreed() -> bool:
    say("Every VM, image and kernel of system mode goes, whatever runs.")
    print("remove all of it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _check_root(what: str) -> None:
    if os.geteuid() != 0:
        raise HostError("only root makes services of this host", hint=f"{_SUDO} {what}")
