"""Fixtures of the ring that boots real VMs; see vmring.py for what they hand out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from vmring import BOOT, Home, Ring, missing_programs

_HERE = Path(__file__).parent
#: Lines of each log that a failure's report shows.
_TAIL = 60
_homes: list[Home] = []
#: Test -> directories of VMs that were there before its first attempt.
_before: dict[str, set[str]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            if item.get_closest_marker("soak") is None:
                item.add_marker(pytest.mark.vm)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    report = yield
    if report.failed and item.path.is_relative_to(_HERE):
        for home in _homes:
            for file in [home.state / "bangerd.log", *home.state.glob("vms/*/*.log")]:
                if file.is_file():
                    lines = file.read_text(errors="replace").splitlines()[-_TAIL:]
                    report.sections.append((str(file), "\n".join(lines)))
    return report


@pytest.fixture(scope="session")
def ring() -> Iterator[Ring]:
    """The ring's directory with image and kernel in it."""
    missing = missing_programs()
    if missing:
        pytest.skip(f"no VM can be booted here: {', '.join(missing)} not installed")
    ring = Ring()
    try:
        ring.pull()
        yield ring
    finally:
        ring.close()


def _home(ring: Ring) -> Iterator[Home]:
    home = ring.home()
    _homes.append(home)
    try:
        yield home
        home.close()
    finally:
        _homes.remove(home)


@pytest.fixture(scope="session")
def commons(ring: Ring) -> Iterator[Home]:
    """The home of the modules that leave it as they found it."""
    yield from _home(ring)


@pytest.fixture(scope="module")
def banger(request: pytest.FixtureRequest, ring: Ring) -> Iterator[Home]:
    """The real command line in a home that a module's tests share; afterwards nothing may be left in it.

    Modules with ``IN_COMMONS = True`` share one home, and one VM that has long booted, among them.
    """
    if getattr(request.module, "IN_COMMONS", False):
        home: Home = request.getfixturevalue("commons")
        yield home
        assert {vm["name"] for vm in home.vms()} <= {"shared"}
    else:
        yield from _home(ring)


@pytest.fixture(autouse=True)
def second_chance(request: pytest.FixtureRequest) -> None:
    """Remove what a test's first, failed attempt left in the home that its module shares."""
    if "banger" not in request.fixturenames:
        return
    banger: Home = request.getfixturevalue("banger")
    if "vm" in request.fixturenames:
        request.getfixturevalue("vm")
    there = {path.name for path in banger.state.glob("vms/*")}
    before = _before.setdefault(request.node.nodeid, there)
    for left in there - before:
        banger("vm", "delete", "--force", left)


@pytest.fixture
def alone(ring: Ring) -> Iterator[Home]:
    """The real command line in a home of this test's own."""
    yield from _home(ring)


@pytest.fixture(scope="module")
def vm(banger: Home) -> str:
    """Name of a VM that runs while a module's tests do."""
    if not any(vm["name"] == "shared" for vm in banger.vms()):
        banger.ok("vm", "create", "--name", "shared", "--wait", "agent", timeout=BOOT)
    return "shared"
