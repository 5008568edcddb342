"""Fixtures of the ring that installs banger on a whole host; see smokehost.py for what they hand out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.smoke.smokehost import ANSWERS, IN_FIRECRACKER, UPDATED, Host, booted
from tests.vm.vmring import Ring, missing_programs

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.timeout(3600))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    report = yield
    if report.failed and item.path.is_relative_to(_HERE) and "host" in getattr(item, "funcargs", {}):
        folder = Path(os.environ.get("BANGER_TEST_EVIDENCE", "/tmp/banger-smoke"), item.name)
        item.funcargs["host"].save_evidence(folder)
        report.sections.append(("evidence", str(folder)))
    return report


@pytest.fixture(scope="session")
def smoke() -> Iterator[Host]:
    """A host that runs for as long as the scenarios do."""
    if missing := missing_programs():
        pytest.skip(f"no VM can be booted here: {', '.join(missing)} not installed")
    ring, kept = Ring(), os.environ.get("BANGER_TEST_HOST")
    try:
        ring.pull()
        with booted(ring, Path(kept) if kept else None) as host:
            yield host
    finally:
        ring.close()


@pytest.fixture
def host(smoke: Host, request: pytest.FixtureRequest) -> Iterator[Host]:
    """The host; after each scenario it has nothing that it had not before."""
    if "one" in request.fixturenames:
        request.getfixturevalue("one")
    before = smoke.traces(capacity=False)
    yield smoke
    assert smoke.traces(capacity=False) == before


@pytest.fixture
def one(smoke: Host, installed: None) -> str:
    """A VM of alice's that runs; the next scenario gets it too, if it still does."""
    smoke.have_vm("one")
    return "one"


@pytest.fixture(scope="session")
def installed(smoke: Host) -> Iterator[None]:
    """System mode, for alice, with an image and a kernel; taken away again, and nothing of it stays."""
    if IN_FIRECRACKER:
        smoke.put_firecracker()
    elif smoke.kept:
        smoke.remove_firecracker()
    if smoke.kept and smoke("test -e /etc/banger/install.toml").status == 0:
        smoke.ok(UPDATED)
        smoke.ok("banger vm delete --force --all --yes")
        yield
        return
    before = smoke.traces()
    smoke.ok('sudo "$(command -v banger)" system install --owner "$USER"')
    smoke.ok("banger system status")
    seed = "cd /var/lib/banger && rm -f banger.db* && cp --archive /opt/seed/banger.db . && "
    seed += "cp --archive --link --force /opt/seed/images /opt/seed/kernels ."
    smoke.ok(f"systemctl stop bangerd && {seed} && systemctl start bangerd", user="root")
    smoke.ok(ANSWERS)
    idle = smoke.traces(capacity=False)
    yield
    if smoke.kept:
        return
    smoke.ok("banger vm delete --force --all --yes")
    assert smoke.traces(capacity=False) == idle
    smoke.ok('sudo "$(command -v banger)" system uninstall --purge --yes')
    assert smoke.traces() == before
    assert smoke.ok("cat /proc/sys/net/ipv4/ip_forward") == "0"
