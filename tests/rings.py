"""Accounting: a ring that was asked for and did not run, or a skip nothing excuses, fails the session."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

_ROOT = os.geteuid() == 0
#: Root of a user namespace only, who may make namespaces of other kinds and mounts without a disk behind them.
IN_USER_NAMESPACE = Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
#: What a test outside the unit ring may be skipped for (how its reason begins), and whether that holds here.
EXCUSES = {
    "needs root": not _ROOT,
    "needs an ordinary user": _ROOT,
    "needs the host's own root": IN_USER_NAMESPACE,
    "needs KVM": not os.access("/dev/kvm", os.R_OK | os.W_OK),
}
# The root conftest takes every setting away: the tests that ask for these programs find them by BANGER_TEST_….
for _name in ("BANGER_FIRECRACKER", "BANGER_JAILER"):
    if _name in os.environ:
        os.environ[_name.replace("_", "_TEST_", 1)] = os.environ[_name]

#: Characters of a failed first attempt's report that are shown: its end, where the error is.
_SHOWN = 1500


class Accounting:
    """What became of the tests of each ring."""

    def __init__(self, rings: list[str]) -> None:
        self.rings = rings
        self.exists: set[str] = set()
        self.ran: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.unexcused: list[str] = []
        #: What went wrong in first attempts whose second chance was taken.
        self.again: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        rings = {item.nodeid: dict(item.user_properties).get("ring", "") for item in items}
        # Scenarios outside the slice are not part of what was asked for: --all-scenarios asks for them.
        self.exists.update(
            rings[item.nodeid]
            for item in items
            if rings[item.nodeid] != "smoke" or any(m.kwargs.get("slice") for m in item.iter_markers("smoke"))
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        ring = dict(report.user_properties).get("ring", "unit")
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped[ring] += 1
            reason = _reason(report)
            excused = any(reason.startswith(text) and holds for text, holds in EXCUSES.items())
            if ring != "unit" and not excused:
                self.unexcused.append(f"{report.nodeid}: skipped, which nothing excuses: {reason}")
        elif report.outcome == "rerun":
            self.again.append(f"{report.nodeid}: {report.longreprtext[-_SHOWN:]}")
        elif report.when == "call":
            self.ran[ring] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.unexcused.append(f"{report.nodeid}: skipped as a whole: mark its tests instead")

    def problems(self) -> list[str]:
        """Return what must fail the session."""
        found = list(self.unexcused)
        for ring in self.rings:
            if self.ran[ring] or self.is_missing(ring):
                continue
            if not (ring == "host" and not _ROOT):
                found.append(f"ring {ring} was asked for and ran nothing")
        return found

    def is_missing(self, ring: str) -> bool:
        """Tell whether nothing of a ring was asked for, which only the smoke ring may."""
        return ring == "smoke" and ring not in self.exists and not (self.ran[ring] or self.skipped[ring])

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.problems() and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section("rings")
        for ring in self.rings:
            what = f"{self.ran[ring]} ran, {self.skipped[ring]} skipped"
            if self.is_missing(ring):
                what = "none of its tests is part of what was asked for: make smoke runs them all"
            elif ring == "host" and not self.ran[ring] and not _ROOT:
                what += " (needs root)"
            terminalreporter.write_line(f"{ring:6} {what}")
        for attempt in self.again:
            terminalreporter.write_line(f"\nfirst attempt of {attempt}")
        for problem in self.problems():
            terminalreporter.write_line(f"FAILED {problem}", red=True)


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.collectonly:
        config.pluginmanager.register(Accounting(config.getoption("--rings").split(",")), "rings")
