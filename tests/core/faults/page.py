"""The page that shows what the matrix found: docs/explanation/faults.md."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from banger.testing.injection import FAULTS
from tests.core.faults.matrix import ACTIONS, Case, Matrix

PAGE = "docs/explanation/faults.md"
#: Operations that run one after the other, in as many daemons at a time as there are groups; about equally long.
_GROUPS = (("create", "delete"), ("start", "stop", "set", "pull", "daemon start"))
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

The plan is that of a VM on network `user` with every capability that has steps and goes with it (what is a bridge's
is tried in network namespaces), and of a third party's two steps: `lease`, which holds something as long as the VM
runs, and `notes`, which makes something that stays as long as the VM. `run`,
`undo`, `remove` and `quiesce` are the functions of a [step](start-pipeline.md); `row` is a write to the
store, which neither hangs nor is cancelled. QEMU is stood in for by a small process that is started, found
and ended by the same code; some of the cases are tried with real VMs as well. A plugin's own steps can be put
through this: `banger.testing.faults` is a plugin that injects such faults into whatever is registered.
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

    def run(actions: tuple[str, ...]) -> Found:
        outcomes: dict[Case, str] = {}
        with Matrix(home / actions[0]) as matrix:
            for action in actions:
                outcomes |= matrix.run(action)
            matrix.clear()
            return Found(outcomes, (*matrix.faults, *(f"left over: {leak}" for leak in matrix.leaks())))

    with ThreadPoolExecutor(len(_GROUPS)) as pool:
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
        for place in dict.fromkeys(case.place for case in cases):
            cells = [_cell(cases, action, place, fault) for fault in FAULTS]
            parts.append(f"| `{place}` | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def _cell(cases: Mapping[Case, str], action: str, place: str, fault: str) -> str:
    found = [
        outcome
        for when in ("before", "after")
        for case, outcome in cases.items()
        if (case.action, case.place, case.when, case.fault) == (action, place, when, fault)
    ]
    return " / ".join(dict.fromkeys(found)) or "-"
