"""A life of random operations on a few VMs, whose daemon is killed now and then."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from typing import Any

from fault_home import add_faults, arm, ask
from vmring import Home, Result, finish, until

#: VMs at a time at most.
_VMS = 2
_DOWN = ("created", "stopped", "error")
#: Places at which the daemon kills itself, of those that docs/explanation/faults.md lists.
_PLACES = (
    "row starting",
    "run root-disk",
    "run work-disk",
    "run network",
    "run boot",
    "run guest",
    "row running",
    "row stopping",
    "undo boot",
    "row stopped",
    "remove root-disk",
    "remove work-disk",
    "row deleted",
)


class Life:
    """One home's random life; the same choices come from the same seed.

    How far an operation is when it is killed depends on the machine, so the same seed need not end the same.
    """

    def __init__(self, home: Home, choose: random.Random) -> None:
        self._home, self._choose = home, choose
        self._count = 0
        self._done: Counter[str] = Counter()
        self._story: list[str] = []
        add_faults(home)

    def step(self) -> None:
        """Do one thing, disturbed in one of three ways or not at all; look whether all VMs are whole."""
        line = self._pick(self._home.vms())
        how = self._choose.choice(
            ("undisturbed", "undisturbed", "daemon killed", "at a place", "client killed")
        )
        delay = self._choose.uniform(0, 4)
        place, when = self._choose.choice(_PLACES), self._choose.choice(("before", "after"))
        self._story.append(
            f"{how}: banger {' '.join(line)}" + (f" ({when} {place})" if how == "at a place" else "")
        )
        self._done[how] += 1
        if how == "undisturbed":
            self._note(self._home(*line))
        elif how == "daemon killed":
            self._kill_daemon_amid(line, delay)
        elif how == "at a place":
            arm(self._home, place, when)
            self._note(self._home(*line))
        else:
            process = self._home.start(*line)
            time.sleep(delay)
            process.send_signal(self._choose.choice((signal.SIGINT, signal.SIGTERM, signal.SIGKILL)))
            self._note(finish(process))
        self._check()

    def end(self) -> None:
        """Delete what there is; nothing may be left."""
        for vm in self._home.vms():
            self._home.ok("vm", "delete", vm["name"])
        self._home.assert_clean()
        assert list((self._home.state / "running").glob("*")) == [], self._tale()
        doctor = self._home("doctor", "--json").json["checks"]
        assert [check["detail"] for check in doctor if check["name"] == "left over"] == [], self._tale()

    def summary(self) -> str:
        """Return what was done, counted."""
        return f"{sum(self._done.values())} operations: " + ", ".join(
            f"{count} {how}" for how, count in sorted(self._done.items())
        )

    def _pick(self, vms: list[dict[str, Any]]) -> tuple[str, ...]:
        if not vms or (len(vms) < _VMS and self._choose.random() < 0.3):
            self._count += 1
            return ("vm", "create", "--name", f"soak-{self._count}", "--wait", "agent")
        vm = self._choose.choice(vms)
        name = str(vm["name"])
        if vm["state"] in _DOWN:
            return self._choose.choice(
                (
                    ("vm", "start", name, "--wait", "agent"),
                    ("vm", "start", name, "--wait", "agent"),
                    ("vm", "set", name, "--memory", self._choose.choice(("384M", "512M"))),
                    ("vm", "delete", name),
                )
            )
        return self._choose.choice(
            (
                ("vm", "stop", name),
                ("vm", "kill", name),
                ("vm", "restart", name, "--wait", "agent"),
                ("vm", "exec", name, "--", "sh", "-c", "echo more >> /root/notes; sync"),
                ("vm", "delete", name),
            )
        )

    def _kill_daemon_amid(self, line: tuple[str, ...], delay: float) -> None:
        process = self._home.start(*line)
        time.sleep(delay)
        pid = self._home.locked_by()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        self._note(finish(process))

    def _note(self, result: Result) -> None:
        self._story[-1] += f" -> {result.status}"
        # before our code is reached Ctrl-C is Python's own
        ours = result.status != -signal.SIGINT or "/banger/cli/" in result.err
        assert not (ours and "Traceback" in result.err), f"{result.err}\n{self._tale()}"

    def _check(self) -> None:
        """See that each VM runs and answers, or is down and has no process; a client that was killed is waited for."""
        until(self._is_settled, 120, f"something is still under way\n{self._tale()}")
        vms = self._home.vms()
        for vm in vms:
            assert vm["state"] in ("running", *_DOWN), f"{vm}\n{self._tale()}"
            assert vm["state"] != "error" or vm["last_error"], f"{vm}\n{self._tale()}"
        for vm in vms:
            name = str(vm["name"])
            # a guest that was asked to power off does so, although the stop was cancelled
            until(
                lambda name=name: not self._is_running(name) or self._answers(name),
                120,
                f"{name} runs and does not answer\n{self._tale()}",
            )
        until(self._has_processes, 60, f"not as many processes as VMs\n{self._tale()}")

    def _is_running(self, name: str) -> bool:
        return any(vm["name"] == name and vm["state"] == "running" for vm in self._home.vms())

    def _answers(self, name: str) -> bool:
        return self._home.exec(name, "echo", "here").text == "here"

    def _has_processes(self) -> bool:
        return len(self._home.qemus()) == sum(vm["state"] == "running" for vm in self._home.vms())

    def _is_settled(self) -> bool:
        self._home.vms()  # starts the daemon where it was killed
        operations = ask(self._home, "op.list", {})["operations"]
        return all(operation["done"] for operation in operations if operation["name"] != "op.list")

    def _tale(self) -> str:
        return "\n".join(self._story[-20:])
