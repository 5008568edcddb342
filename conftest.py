"""Rings of tests, their switches, and isolation from the user's own banger. Nothing else."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["tests.rings", "banger.testing.pytest_plugin"]

RINGS = {
    "unit": "needs nothing (every test without another mark)",
    "host": "needs root: real namespaces, links and file systems",
    "vm": "boots virtual machines",
    "long": "boots virtual machines, and make test has no time for it",
    "smoke": "a whole host inside a VM; smoke(slice=True) is part of make test",
    "golden": "images that take minutes to build",
    "soak": "the same thing many times over",
}
HOMES = {"STATE": ".local/state", "CACHE": ".cache", "CONFIG": ".config", "DATA": ".local/share"}
#: The user's own banger, which no test may touch.
OWN = tuple(f"{os.environ.get(f'XDG_{k}_HOME') or Path.home() / v}/banger/" for k, v in HOMES.items())
#: Where everything goes instead: a short path, because Unix sockets live under it.
BASE = Path(tempfile.mkdtemp(prefix="bt-", dir="/tmp"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rings", default="unit", help=f"comma-separated: {', '.join(RINGS)} [unit]")
    parser.addoption("--all-scenarios", action="store_true", help="ring smoke: all, not make test's slice")


def pytest_configure(config: pytest.Config) -> None:
    for ring, what in RINGS.items():
        config.addinivalue_line("markers", f"{ring}: {what}")
    if unknown := set(config.getoption("--rings").split(",")) - set(RINGS):
        raise pytest.UsageError(f"--rings: unknown {', '.join(sorted(unknown))}; known: {', '.join(RINGS)}")
    for name in [name for name in os.environ if name.startswith("BANGER_") and "_TEST_" not in name]:
        del os.environ[name]
    os.environ.pop("XDG_RUNTIME_DIR", None)
    os.environ["BANGER_MODE"] = "user"
    os.environ.update({f"XDG_{kind}_HOME": str(BASE / kind[:2].lower()) for kind in HOMES})
    sys.addaudithook(_refuse_own_state)


def pytest_unconfigure() -> None:
    shutil.rmtree(BASE, ignore_errors=True)


def _refuse_own_state(event: str, arguments: tuple[object, ...]) -> None:
    watched = event in {"open", "os.mkdir", "os.rename", "os.remove", "sqlite3.connect"}
    if watched and f"{arguments[0]}/".startswith(OWN):
        raise RuntimeError(f"a test touches the user's own state: {event} {arguments[0]}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted, everything = config.getoption("--rings").split(","), config.getoption("--all-scenarios")
    for item in items:
        mark = next((m for ring in reversed(RINGS) for m in item.iter_markers(ring)), None)
        ring = mark.name if mark else "unit"
        extra = mark is not None and ring == "smoke" and not (everything or mark.kwargs.get("slice"))
        item.user_properties += [("ring", ring), ("wanted", ring in wanted and not extra)]
        if ring == "host" and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root, or a sudo that asks for no password"))
    chosen = [item for item in items if dict(item.user_properties)["wanted"]]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.fixture(autouse=True)
def isolation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every unit and host test directories of its own; tests that boot VMs share images in one."""
    if dict(request.node.user_properties)["ring"] in {"unit", "host"}:
        own = Path(tempfile.mkdtemp(dir=BASE))
        for kind in HOMES:
            monkeypatch.setenv(f"XDG_{kind}_HOME", str(own / kind[:2].lower()))
