"""The page that shows what the matrix found: docs/explanation/faults.md."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from banger.testing.injection import FAULTS
from tests.core.faults.matrix import ACTIONS, Case, Matrix

PAGE = "docs/explanation/faults.md"
#: How many groups have their turn at a time.
_AT_ONCE = 2
#: Networks, and operations that run one after the other, the longest group first.
_GROUPS = (
    ("user", ("create", "delete")),
    ("user", ("start", "stop", "set", "pull", "daemon start")),
    ("user", ("snapshot", "restore", "snapshot delete")),
    ("bridge", ("create", "start", "stop", "delete")),
)
_INTRO = """\
# Faults: what a VM is after each

<!-- Written by `python tools/faults.py`; a test runs the same cases and compares. -->

A VM's start, stop and deletion are made of steps, and between them rows are written into the store. At every
one of these places, in every operation, four things are made to go wrong, before it and after it:

- **cancelled**: whoever asked cancels the operation;
- **raises**: the step fails;
- **hangs**: the step waits for a program that never ends, until the program's time is up;
- **killed**: the daemon is ended with `SIGKILL`, its store and files as they are at that moment.

Then the daemon is ended as a crash would, and the next one starts. The tables say what the VM is from then
on: `running` and adopted, its guest answering; `stopped` and holding nothing; `error`, with a reason that
`banger vm show` prints; or `gone` without a trace. Where before and after differ, both are given. An `error`
is mended by `banger vm start`, which is tried for each; that of a VM whose deletion was cut off by `banger vm
delete`. At the end every VM is deleted, and no process, socket, lock, file or loopback port may be left.

The plan is that of a VM on network `user` with every capability that has steps and goes with it, and of a third
party's two steps: `lease`, which holds something as long as the VM runs, and `notes`, which makes something that
stays as long as the VM. A second plan is that of a VM on network `bridge`, with the steps that only such a VM has and
the network's own; there a fake stands in for the root helper, which passes the same contract test and whose bridges,
taps and ways out outlive the daemon. No step that a built-in plugin registers is in neither plan. `run`,
`undo`, `remove` and `quiesce` are the functions of a [step](start-pipeline.md); `row` is a write to the
store, which neither hangs nor is cancelled. The operations on snapshots are no steps: their places are the functions
that leave something. There a snapshot is `there` and whole, or `gone`, and after a restore all disks of the VM are
`as then`, when the snapshot was made, or all `as before`.

QEMU is stood in for by a small process that is started, found and ended by the same code; some of the cases are tried
with real VMs as well. A plugin's own steps can be put through this: `banger.testing.faults` is a plugin that injects
such faults into whatever is registered.
"""
_DAEMON = "A daemon that finds a VM whose stop the last one, killed, did not end"


@dataclass(frozen=True, slots=True)
class Found:
    """What the matrix found: an outcome for each case, and all that was wrong besides, a line each."""

    outcomes: Mapping[Case, str]
    wrong: tuple[str, ...]


def run_matrix(home: Path) -> Found:
    """Run every case; a minute on two processors.

    :param home: an empty directory with a short path.
    """

    def run(group: tuple[str, tuple[str, ...]]) -> Found:
        network, actions = group
        outcomes: dict[Case, str] = {}
        with Matrix(home / f"{network[0]}-{actions[0][:2]}", network) as matrix:
            for action in actions:
                outcomes |= matrix.run(action)
            matrix.clear()
            return Found(outcomes, (*matrix.faults, *(f"left over: {leak}" for leak in matrix.leaks())))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(run, _GROUPS))
    together = {case: outcome for part in found for case, outcome in part.outcomes.items()}
    return Found(together, tuple(line for part in found for line in part.wrong))


def render(outcomes: Mapping[Case, str]) -> str:
    """Return the page."""
    parts = [_INTRO]
    for action, what in ACTIONS.items():
        cases = {case: outcome for case, outcome in outcomes.items() if case.action == action}
        parts += [
            f"## {action}",
            "",
            f"{f'`{what.operation}`' if what.operation else _DAEMON}: {len(cases)} cases.",
            "",
        ]
        parts += ["| place | cancelled | raises | hangs | killed |", "|---|---|---|---|---|"]
        for network, place in dict.fromkeys((case.network, case.place) for case in cases):
            cells = [_cell(cases, network, place, fault) for fault in FAULTS]
            where = "" if network == "user" else f" on network `{network}`"
            parts.append(f"| `{place}`{where} | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def _cell(cases: Mapping[Case, str], network: str, place: str, fault: str) -> str:
    found = [
        outcome
        for when in ("before", "after")
        for case, outcome in cases.items()
        if (case.network, case.place, case.when, case.fault) == (network, place, when, fault)
    ]
    return " / ".join(dict.fromkeys(found)) or "-"
