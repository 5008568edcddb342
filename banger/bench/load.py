"""Many VMs at once: created, listed, worked in and stopped, against bare machines and against one."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from banger.bench.baseline import Baseline, make_baseline
from banger.bench.figures import program
from banger.bench.measure import Figure, Target, interleave, run_timed
from banger.cli.client import Client
from banger.cli.output import say
from banger.sdk import Sandbox

#: What a scale of 1 means: VMs created and stopped together, VMs listed, VMs worked in, commands in them at once.
_CREATED, _LISTED, _WORKED, _COMMANDS = 20, 50, 5, 200
#: Listings of each kind.
_LISTINGS = 10
#: Seconds between two looks at the daemon's memory, and until it is looked at again after the load.
_LOOK, _CALM = 0.02, 5.0


def measure_load(client: Client, scale: float) -> list[Target]:
    """Measure all of it; every VM that is made is deleted."""
    made, listed, worked, commands = (
        max(least, round(count * scale))
        for count, least in ((_CREATED, 2), (_LISTED, 2), (_WORKED, 1), (_COMMANDS, 2))
    )
    run_timed([*program(), "vm", "run", "--rm", "--", "true"])
    say(f"bare machines: {made} of them")
    with _baseline(client) as baseline:
        bare = _measure_bare(baseline, made)
    say(f"VMs: {made} of them")
    created, stops = _measure_life(client, made)
    say(f"a list of {listed} VMs")
    listing = _measure_lists(client, listed)
    say(f"{commands} commands at once in {worked} VMs")
    return [Target(created, bare, 1.15), listing, *_measure_commands(client, worked, commands), stops]


@contextmanager
def _baseline(client: Client) -> Iterator[Baseline]:
    vm = client.call("vm.create", {"wait": "system"}, on_event=_pass)["vm"]["id"]
    try:
        with make_baseline(client, vm) as baseline:
            yield baseline
    finally:
        client.call("vm.delete", {"vm": vm})


def _measure_bare(baseline: Baseline, count: int) -> Figure:
    """Measure bare machines, from nothing to each one's first command, as many at a time as is quickest."""
    with ExitStack() as directories:
        machines = [directories.enter_context(baseline.twin()) for _ in range(count)]

        def boot(at_once: int) -> float:
            began = time.monotonic()
            with _threads(at_once) as pool:
                try:
                    list(pool.map(lambda machine: machine.boot_once(), machines))
                except BaseException:
                    for machine in machines:
                        machine.kill()
                    raise
            return time.monotonic() - began

        cores = os.cpu_count() or 1
        tried = {
            at_once: boot(at_once) for at_once in sorted({min(cores, count), min(2 * cores, count), count})
        }
    best = min(tried, key=lambda at_once: tried[at_once])
    return Figure(f"{count} bare qemus to a first ssh command, {best} at once", "s", (tried[best],))


def _measure_life(client: Client, count: int) -> tuple[Figure, Target]:
    """Measure VMs that are all created at once, to a first command in each, and all stopped at once."""
    names = [f"bench-{os.getpid()}-{number}" for number in range(count)]

    def create(name: str) -> None:
        client.call("vm.create", {"name": name, "wait": "agent"}, on_event=_pass)
        Sandbox.attach(name).exec("true")

    with _deleted(client, names), _threads(count) as pool:
        began = time.monotonic()
        list(pool.map(create, names))
        created = Figure(f"{count} VMs created at once, a command in each", "s", (time.monotonic() - began,))
        for name in names:
            client.call("vm.wait", {"vm": name, "until": "system", "timeout": 600}, on_event=_pass)
        together = run_timed([*program(), "vm", "stop", *names])
        client.call("vm.start", {"vm": names[0], "wait": "system"}, on_event=_pass)
        one = run_timed([*program(), "vm", "stop", names[0]])
    stopped = Figure(f"banger vm stop, {count} VMs", "s", (together,))
    return created, Target(stopped, Figure(f"{count} times one", "s", (count * one,)), 0.6)


def _measure_lists(client: Client, count: int) -> Target:
    """Measure a list of many VMs against a list of one, in turn; they are down, which a list does not care for."""
    names = [f"bench-list-{os.getpid()}-{number}" for number in range(count)]
    line = [*program(), "vm", "list"]

    def many() -> float:
        for name in names[1:]:
            client.call("vm.create", {"name": name, "start": False})
        took = run_timed(line)
        for name in names[1:]:
            client.call("vm.delete", {"vm": name})
        return took

    with _deleted(client, names):
        client.call("vm.create", {"name": names[0], "start": False})
        one, several = interleave(
            _LISTINGS, {"banger vm list": lambda: run_timed(line), f"banger vm list, {count} VMs": many}
        ).values()
    return Target(several, one, 1.2)


def _measure_commands(client: Client, vms: int, count: int) -> list[Target]:
    """Measure commands that all begin at once, and the daemon's memory meanwhile and afterwards."""
    names = [f"bench-exec-{os.getpid()}-{number}" for number in range(vms)]
    with _deleted(client, names), _threads(count) as pool:
        for name in names:
            client.call("vm.create", {"name": name, "wait": "system"}, on_event=_pass)
        boxes = [Sandbox.attach(name) for name in names]
        pid = client.call("daemon.status")["pid"]
        before = _resident(pid)

        def run(number: int) -> float:
            began = time.monotonic()
            boxes[number % vms].exec("true")
            return time.monotonic() - began

        with _watched(lambda: _resident(pid)) as seen:
            took = sorted(pool.map(run, range(count)))
        time.sleep(_CALM)
        after = _resident(pid)
    slowest = took[max(0, -(-len(took) * 99 // 100) - 1)]
    median = Figure(f"{count} commands at once in {vms} VMs, median", "s", (statistics.median(took),))
    return [
        Target(Figure("the same, 99 of 100 are quicker", "s", (slowest,)), median, float(count)),
        Target(Figure("daemon meanwhile, resident", "MiB", (max(seen),)), None, 150),
        Target(
            Figure("daemon afterwards, resident", "MiB", (after,)),
            Figure("before", "MiB", (before,)),
            1.1,
        ),
    ]


@contextmanager
def _deleted(client: Client, names: list[str]) -> Iterator[None]:
    """Delete these VMs at the end, those that there are."""
    try:
        yield
    finally:
        there = {vm["name"] for vm in client.call("vm.list")["vms"]}
        for name in names:
            if name in there:
                client.call("vm.delete", {"vm": name})


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads; what has not begun when something fails, or Ctrl-C comes, is not begun any more."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _watched(look: Callable[[], float]) -> Iterator[list[float]]:
    """Look at something all the time, in a thread; what was seen."""
    seen, ended = [look()], threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK):
            seen.append(look())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _pass(_: object) -> None:
    """Take a progress event, which keeps a call that takes long from being given up."""


def _resident(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
