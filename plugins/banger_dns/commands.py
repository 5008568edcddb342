"""``dns status``, ``dns install`` and ``dns uninstall``."""

from __future__ import annotations

import os
from typing import Any

import click

from banger.api import Client, HostCommands, HostError, UsageError, print_json, print_pairs, say
from banger_dns.check import INSTALL
from banger_dns.route import install_route, uninstall_route

_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


@click.command()
@_json
def status(as_json: bool) -> int:
    """Show what answers NAME.vm, and whether this host asks it; exit status 1 when nothing answers."""
    answer = Client().call("dns.status")
    runs = answer["port"] is not None
    if as_json:
        print_json(answer)
        return 0 if runs else 1
    route, server = answer["route"], f"{answer['address']}:{answer['port']}"
    print_pairs(
        [
            ("server", f"{server}, UDP and TCP" if runs else f"{answer['state']}: {answer['detail']}"),
            ("route", f"{route['path']}, to port {route['port']}" if route else "none"),
            ("resolves", "yes" if answer["resolves"] else "no"),
            *((name["name"], name["address"]) for name in answer["names"]),
        ]
    )
    if runs and not answer["resolves"]:
        say(f"hint: {_next(answer)}")
    return 0 if runs else 1


def _next(answer: dict[str, Any]) -> str:
    if answer["route"] is None:
        return INSTALL
    if answer["route"]["port"] != answer["port"]:
        return f"{INSTALL} --port {answer['port']}"
    return "banger doctor"


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="where your daemon answers [the one it noted]")
@_json
def install(port: int | None, as_json: bool) -> None:
    """Let every program on this host resolve NAME.vm, by one file for systemd-resolved.

    Run it as root: sudo "$(command -v banger)" dns install. The port is that of the user who calls sudo. A second call
    changes nothing.
    """
    _check_root("install")
    if port is None:
        from banger_dns.note import resolve_port

        port = resolve_port(_caller())
    route, changed = install_route(port, HostCommands())
    if as_json:
        print_json({"path": str(route.path), "port": route.port, "changed": changed})
    else:
        said = "now leads" if changed else "already leads"
        say(f"{route.path} {said} to 127.0.0.1:{route.port}; see: banger dns status")


@click.command()
@_json
def uninstall(as_json: bool) -> None:
    """Take out what ``dns install`` wrote, and nothing else."""
    _check_root("uninstall")
    removed = uninstall_route(HostCommands())
    if as_json:
        print_json({"removed": [str(path) for path in removed]})
    elif removed:
        say(f"removed: {', '.join(str(path) for path in removed)}")
    else:
        say("there is nothing of banger's to remove")


def _check_root(what: str) -> None:
    if os.geteuid() != 0:
        raise HostError(
            "only root may tell systemd-resolved where to ask", hint=f'sudo "$(command -v banger)" dns {what}'
        )


def _caller() -> int:
    """Return the user whose daemon is meant: the one who called sudo, else root."""
    said = os.environ.get("SUDO_UID", "")
    if said and not said.isdecimal():
        raise UsageError(f"SUDO_UID is no user's number: {said[:40]}", hint="say the port: --port PORT")
    return int(said) if said else os.getuid()
