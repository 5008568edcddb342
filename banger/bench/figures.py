"""What is measured of banger itself, always through its whole command line."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from banger.bench.baseline import Baseline, make_baseline
from banger.bench.measure import Figure, Target, interleave, run_timed
from banger.cli.client import Client
from banger.cli.output import say
from banger.errors import BangerError

#: The yardstick for starting the command line: the libraries nothing here can do without.
YARDSTICK = "import click, json, socket"
#: Seconds that the daemon is watched while nothing happens.
_REST = 5.0
#: Bytes of the file that is copied, and how often at most: scp takes its time.
_COPY_BYTES, _COPIES = 200_000_000, 3
#: Commands per round of what takes milliseconds.
_QUICK = 4
#: What bash's script asks with when Tab is pressed behind ``banger vm show``.
_TAB = {"_BANGER_COMPLETE": "bash_complete", "COMP_WORDS": "banger\nvm\nshow\n", "COMP_CWORD": "3"}


def program() -> tuple[str, ...]:
    """Return the command line that is installed next to this interpreter."""
    script = Path(sys.executable).with_name("banger")
    return (os.fspath(script),) if script.exists() else (sys.executable, "-P", "-m", "banger")


def measure_start(rounds: int) -> list[Target]:
    """Measure starting the command line."""
    banger = program()
    run_timed([*banger, "vm", "list"])
    figures = interleave(
        rounds * _QUICK,
        {
            "python -I -c 'import click, json, socket'": lambda: run_timed(
                [sys.executable, "-I", "-c", YARDSTICK]
            ),
            "banger --version": lambda: run_timed([*banger, "--version"]),
            "banger --help": lambda: run_timed([*banger, "--help"]),
            "banger vm list": lambda: run_timed([*banger, "vm", "list"]),
            "Tab after banger vm show": lambda: run_timed(banger, _TAB),
        },
    )
    base, version, help_, listing, tab = figures.values()
    return [
        Target(version, base, 0.8),
        Target(help_, base, 1.6),
        Target(listing, base, 2.0),
        Target(tab, listing, 1.2),
    ]


def measure_rest(client: Client) -> list[Target]:
    """Measure the daemon while nothing happens: resident memory and processor time."""
    pid = client.call("daemon.status")["pid"]
    time.sleep(0.5)
    before = _ticks(pid)
    time.sleep(_REST)
    ticks = Figure(f"daemon at rest, processor time in {_REST:.0f} s", "ticks", (_ticks(pid) - before,))
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE") / (1024 * 1024)
    return [Target(Figure("daemon at rest, resident", "MiB", (resident,)), None, 80), Target(ticks, None, 1)]


def _ticks(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return float(int(fields[11]) + int(fields[12]))


def measure_boot(client: Client, rounds: int) -> list[Target]:
    """Measure the way to a first command, cold and with the daemon down, and one more command, against ssh."""
    banger = program()
    cold = (*banger, "vm", "run", "--rm", "--", "true")
    say("preparing: image, kernel and a machine for the baseline")
    run_timed(cold)
    vm = client.call("vm.create", {"wait": "system", "publish": ["22"]})["vm"]["id"]
    try:
        with make_baseline(client, vm) as baseline:
            say(f"measuring: {rounds} rounds")
            boots = interleave(
                rounds,
                {
                    "bare qemu to its first ssh command": baseline.boot_once,
                    "banger vm run --rm -- true": lambda: run_timed(cold),
                    "the same, daemon not running": lambda: _run_without_daemon(client, cold),
                },
            )
            stop = _measure_stop(client, vm, rounds)
            client.call("vm.start", {"vm": vm, "wait": "system"})
            logins = _measure_ssh(client, baseline, vm, rounds)
            commands = _measure_commands(baseline, vm, rounds)
            copies = _measure_copies(baseline, vm, min(rounds, _COPIES))
    finally:
        client.call("vm.delete", {"vm": vm})
    bare, hot, down = boots.values()
    return [
        Target(hot, bare, 0.30),
        Target(down, bare, 0.30),
        Target(stop, bare, 0.30),
        logins,
        commands,
        *copies,
    ]


def _measure_stop(client: Client, vm: str, rounds: int) -> Figure:
    """Measure stopping a VM whose services have started and do nothing."""
    values: list[float] = []
    for _ in range(rounds):
        client.call("vm.start", {"vm": vm, "wait": "system"})
        values.append(run_timed([*program(), "vm", "stop", vm]))
    return Figure("banger vm stop VM", "s", tuple(values))


def _measure_copies(baseline: Baseline, vm: str, rounds: int) -> list[Target]:
    """Measure a file of noise into a VM and out of it, against scp with the baseline."""
    banger = (*program(), "vm", "cp")
    with baseline.booted(), tempfile.TemporaryDirectory(prefix="banger-bench-") as name:
        source, back = Path(name, "noise"), Path(name, "back")
        source.write_bytes(os.urandom(_COPY_BYTES))
        baseline.settle()
        into, copied_in, out, copied_out = interleave(
            rounds,
            {
                f"scp {_COPY_BYTES // 10**6} MB into it": lambda: baseline.scp_in(source),
                "banger vm cp FILE VM:": lambda: run_timed([*banger, os.fspath(source), f"{vm}:copied"]),
                "scp the same out of it": lambda: baseline.scp_out(back),
                "banger vm cp VM:FILE": lambda: run_timed([*banger, f"{vm}:copied", os.fspath(back)]),
            },
        ).values()
    return [Target(copied_in, into, 0.33), Target(copied_out, out, 0.33)]


def _measure_ssh(client: Client, baseline: Baseline, vm: str, rounds: int) -> Target:
    """Measure ssh through the agent's channel against ssh to a forwarded port, both with the same VM."""
    port = client.call("vm.show", {"vm": vm})["ports"][0]
    command = (*program(), "vm", "ssh", vm, "true")
    run_timed(command)
    plain, ours = interleave(
        rounds * _QUICK,
        {
            "ssh to a forwarded port of VM, true": lambda: baseline.ssh_to(port["address"], port["host"]),
            "banger vm ssh VM true": lambda: run_timed(command),
        },
    ).values()
    return Target(ours, plain, 1.25)


def _measure_commands(baseline: Baseline, vm: str, rounds: int) -> Target:
    """Measure one more command in a VM and in the baseline, both at rest."""
    command = (*program(), "vm", "exec", vm, "--", "true")
    with baseline.booted():
        baseline.settle()
        ssh, warm = interleave(
            rounds * _QUICK,
            {"ssh … true": baseline.ssh, "banger vm exec VM -- true": lambda: run_timed(command)},
        ).values()
    return Target(warm, ssh, 0.15)


def _run_without_daemon(client: Client, argv: tuple[str, ...]) -> float:
    try:
        client.call("daemon.stop", start=False)
    except BangerError:  # it did not run, or is busy
        return run_timed(argv)
    while client.paths.daemon_socket.exists():
        time.sleep(0.01)
    return run_timed(argv)
