"""Commands that ask how VMs are."""

from __future__ import annotations

import time
from typing import Any

import click

from banger.cli.client import Client
from banger.cli.output import green, print_json, print_pairs, red
from banger.cli.vm import json_option


@click.command()
@click.argument("vm")
@click.option("--count", "-c", type=click.IntRange(1, 1000), default=1, show_default=True, help="how often")
@json_option
def ping(vm: str, count: int, as_json: bool) -> None:
    """Ask a VM's agent for a sign of life, and say how long it took."""
    client, answers = Client(), []
    for number in range(count):
        if number:
            time.sleep(1)
        answers.append(client.call("vm.ping", {"vm": vm}))
        if not as_json:
            print(f"{answers[-1]['vm']} answered in {answers[-1]['milliseconds']:.1f} ms", flush=True)
    if as_json:
        print_json(answers if count > 1 else answers[0])


@click.command()
@click.argument("vm")
@click.option("--ssh", "login", is_flag=True, help="also log in over ssh, with the pinned host key")
@json_option
def health(vm: str, login: bool, as_json: bool) -> int:
    """Show how a VM's guest is; exit status 1 when something is wrong with it."""
    found = Client().call("vm.health", {"vm": vm, "login": login})
    if as_json:
        print_json(found)
        return 0 if found["healthy"] else 1
    import sys

    word = green("healthy", sys.stdout) if found["healthy"] else red("unhealthy", sys.stdout)
    print(f"{found['vm']} is {word}")
    print_pairs(
        [
            ("problems", "; ".join(found["problems"])),
            ("agent", f"{found['agent']}, answered in {found['milliseconds']:.1f} ms"),
            ("up for", "" if found["uptime_seconds"] is None else f"{found['uptime_seconds']:.0f} s"),
            ("load", " ".join(f"{load:.2f}" for load in found["load"])),
            ("memory", _of(found, "memory_available_kib", "memory_total_kib", "available")),
            ("root disk", _of(found, "root_free_kib", "root_size_kib", "free")),
            ("ssh", "port 22 is open" if found["ssh"] else "nothing listens on port 22"),
            ("login", f"works, {found['login']}" if found["login"] else ""),
        ]
    )
    return 0 if found["healthy"] else 1


def _of(found: dict[str, Any], left: str, size: str, word: str) -> str:
    if found[left] is None or found[size] is None:
        return ""
    return f"{found[left] // 1024} MiB of {found[size] // 1024} MiB {word}"


@click.command()
@click.argument("vm")
@json_option
def touch(vm: str, as_json: bool) -> None:
    """Say that a VM is in use."""
    answer = Client().call("vm.touch", {"vm": vm})
    if as_json:
        print_json(answer)
    else:
        print(f"{answer['vm']} touched")
