"""Every fault at every place of every operation: nothing is left in between, and nothing without an owner."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.daemon.services import fill_registries
from banger.helper.requests import AllowNat, CreateTap, EnsureBridge
from banger.testing.injection import FAULTS
from banger.testing.plugin_sets import load_chosen
from tests.core.faults.lab import LEFT_OUT, ROOT, make_plugins
from tests.core.faults.matrix import ACTIONS
from tests.core.faults.page import PAGE, Found, render, run_matrix
from tests.core.faults.paper_bridge import PaperPrivileged
from tests.core.helper.contract import check_contract

pytestmark = pytest.mark.timeout(900)  # all of it in one fixture, on machines that may be slow

#: The operations in which the parts of a step have their turn.
PARTS = {
    "run": ("create", "start"),
    "undo": ("stop", "delete"),
    "quiesce": ("stop",),
    "remove": ("delete",),
}
MARK = "0123abcd"
WHOLE = {"running", "stopped", "error", "gone"}


@pytest.fixture(scope="module")
def found() -> Iterator[Found]:
    """What the matrix finds, in a directory whose path is short enough for sockets."""
    home = Path(tempfile.mkdtemp(prefix="bf", dir="/tmp"))
    yield run_matrix(home)
    shutil.rmtree(home)


def test_every_vm_is_whole_and_nothing_is_left(found: Found) -> None:
    assert not found.wrong, "\n".join(found.wrong)
    lives = {name for name, action in ACTIONS.items() if not action.disks and name != "pull"}
    assert {outcome for case, outcome in found.outcomes.items() if case.action in lives} <= WHOLE


def test_a_cancelled_create_leaves_nothing(found: Found) -> None:
    cancelled = {
        case: outcome
        for case, outcome in found.outcomes.items()
        if (case.action, case.fault) == ("create", "cancel")
    }
    assert cancelled
    assert set(cancelled.values()) == {"gone"}


def test_every_registered_step_is_covered(found: Found) -> None:
    registries = fill_registries(load_chosen(make_plugins(), disabled=LEFT_OUT))
    steps = {name: owned.value for name, owned in registries.all_steps().items()}
    assert {"lease", "notes", "nat", "network", "boot"} < set(steps)
    for name, step in steps.items():
        for part, actions in PARTS.items():
            if getattr(step, part) is not None:
                for action in actions:
                    _check_all(found, action, f"{part} {name}")


def test_a_bridges_own_steps_are_covered(found: Found) -> None:
    for name in ("network", "nat"):
        for place, actions in (("run", ("create", "start")), ("undo", ("stop", "delete"))):
            for action in actions:
                _check_all(found, action, f"{place} {name}", "bridge")


def _check_all(found: Found, action: str, place: str, network: str | None = None) -> None:
    """Check that every fault was tried there, on a network or on any."""
    tried = {
        (case.fault, case.when)
        for case in found.outcomes
        if (case.action, case.place) == (action, place) and network in (None, case.network)
    }
    faults = [fault for fault in FAULTS if fault != "cancel" or ACTIONS[action].operation]
    missing = {(fault, when) for fault in faults for when in ("before", "after")} - tried
    assert not missing, f"{action}: {place} is not covered: {missing}"


def test_every_operation_survives_a_kill(found: Found) -> None:
    assert {case.action for case in found.outcomes if case.fault == "kill"} == set(ACTIONS)


def test_the_page_says_what_is_so(found: Found) -> None:
    assert (ROOT / PAGE).read_text() == render(found.outcomes), "write it again: python tools/faults.py"


def test_the_bridges_on_paper_keep_the_contract(tmp_path: Path) -> None:
    check_contract(lambda request: PaperPrivileged(tmp_path / "bridges").call(request))


def test_a_tap_and_a_way_out_of_nobody_are_found(tmp_path: Path) -> None:
    seam = PaperPrivileged(tmp_path / "bridges")
    seam.call(EnsureBridge("br-banger", MARK, "172.30.0.1", 24))
    seam.call(CreateTap("br-banger", MARK, "bgr-0123abcd", True))
    seam.call(AllowNat("br-banger", MARK, ("172.30.0.2",), only=False))
    vm = {"id": "0123abcd" * 4, "address": "172.30.0.2"}
    assert PaperPrivileged(tmp_path / "bridges").leaks([vm]) == []
    assert seam.leaks([]) == ["tap bgr-0123abcd", "way out of 172.30.0.2"]
