"""Every fault at every place of every operation: nothing is left in between, and nothing without an owner."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.daemon.services import fill_registries
from banger.testing.injection import FAULTS
from banger.testing.plugin_sets import load_chosen
from tests.core.faults.lab import ROOT, make_plugins
from tests.core.faults.matrix import ACTIONS, Case
from tests.core.faults.page import PAGE, Found, render, run_matrix

pytestmark = pytest.mark.timeout(900)  # all of it in one fixture, on machines that may be slow

WHOLE = {"running", "stopped", "error", "gone"}


@pytest.fixture(scope="module")
def found() -> Iterator[Found]:
    """What the matrix finds, in a directory whose path is short enough for sockets."""
    home = Path(tempfile.mkdtemp(prefix="bf", dir="/tmp"))
    yield run_matrix(home)
    shutil.rmtree(home)


def test_every_vm_is_whole_and_nothing_is_left(found: Found) -> None:
    assert not found.wrong, "\n".join(found.wrong)
    assert {outcome for case, outcome in found.outcomes.items() if case.action != "pull"} <= WHOLE


def test_a_cancelled_create_leaves_nothing(found: Found) -> None:
    cancelled = {
        case: outcome
        for case, outcome in found.outcomes.items()
        if (case.action, case.fault) == ("create", "cancel")
    }
    assert cancelled
    assert set(cancelled.values()) == {"gone"}


def test_every_registered_step_is_covered(found: Found) -> None:
    registries = fill_registries(load_chosen(make_plugins()))
    steps = {name: owned.value for name, owned in registries.all_steps().items()}
    for capability in registries.capabilities.values():  # that of a bridge is tried in namespaces: tests/host
        if not capability.fits(registries.networks["user"].attachment):
            for step in capability.steps:
                del steps[step.name]
    assert {"lease", "notes"} < set(steps)
    for name, step in steps.items():
        for part, actions in (("run", "create start"), ("undo", "stop delete"), ("remove", "delete")):
            if getattr(step, part) is not None:
                for action in actions.split():
                    _check_all(found, action, f"{part} {name}")


def _check_all(found: Found, action: str, place: str) -> None:
    for fault in FAULTS:
        for when in ("before", "after"):
            assert Case(action, place, when, fault) in found.outcomes, f"{action}: {place} is not covered"


def test_every_operation_survives_a_kill(found: Found) -> None:
    assert {case.action for case in found.outcomes if case.fault == "kill"} == set(ACTIONS)


def test_the_page_says_what_is_so(found: Found) -> None:
    assert (ROOT / PAGE).read_text() == render(found.outcomes), "write it again: python tools/faults.py"
