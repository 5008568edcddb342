"""``version``: what is installed, what runs, and where the two differ."""

from __future__ import annotations

from typing import Any

import click

from banger.cli.client import Client
from banger.cli.output import clean, print_json, print_pairs, say
from banger.cli.vm import json_option

#: Seconds that a daemon which runs gets to say what it is.
_PATIENCE = 2.0


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print version, commit and build time of the command line, the daemon and the guest agent.

    No daemon is started for it. Running VMs whose agent is of another build are named.
    """
    import banger
    from banger.build import build_info

    commit, built_at = build_info()
    ours = {"version": banger.__version__, "commit": commit, "built_at": built_at}
    daemon = find_daemon()
    agent, agents = daemon.get("agent"), daemon.get("agents", [])
    running = {key: daemon[key] for key in ours} if daemon else None
    notes = describe_drift(ours, daemon)
    if as_json:
        print_json(
            {**ours, "daemon": running, "agent": agent or find_agent(), "agents": agents, "drift": notes}
        )
        return
    print_pairs(
        [
            ("version", banger.__version__),
            ("commit", commit),
            ("built", built_at),
            ("daemon", describe_build(running) if running else "does not run"),
            ("agent", describe_build(agent or find_agent())),
        ]
    )
    for note in notes:
        say(f"note: {clean(note)}")


def find_daemon() -> dict[str, Any]:
    """Return what the daemon that runs says of itself; nothing when there is none, or none that answers."""
    from banger.errors import BangerError

    try:
        return Client().peek("daemon.status", timeout=_PATIENCE)
    except BangerError:
        return {}


def find_agent() -> dict[str, str] | None:
    """Return the build of the guest agent that is installed here; None when there is none."""
    import os
    from pathlib import Path

    import banger
    from banger.build import agent_info

    binary = Path(banger.__file__).parent / "guest" / "bin" / f"banger-agent-{os.uname().machine}"
    try:
        return agent_info(binary)
    except OSError:
        return None


def describe_build(build: dict[str, str] | None) -> str:
    """Return ``0.1.0 (0123456789ab, built 2026-01-01T00:00:00+00:00)``."""
    if build is None:
        return "not installed"
    built = f", built {build['built_at']}" if build.get("built_at", "unknown") != "unknown" else ""
    return f"{build['version']} ({build['commit'][:12]}{built})"


def describe_drift(ours: dict[str, str], daemon: dict[str, Any]) -> list[str]:
    """Return a line for each part that runs and is of another build than this command line."""
    notes = []
    if daemon and (daemon["version"], daemon["commit"]) != (ours["version"], ours["commit"]):
        notes.append(
            f"the daemon is {describe_build(daemon)}; it restarts with the next command, or: banger daemon stop"
        )
    for agent in daemon.get("agents", []):
        if agent["drift"]:
            notes.append(
                f"the agent in {agent['vm']} is {agent['version']} ({agent['commit'][:12]}); a restart of the VM "
                "brings this version's"
            )
    return notes
