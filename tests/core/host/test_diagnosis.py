"""Checks run together, each within its time, and one that hangs holds nobody up."""

from __future__ import annotations

import threading

from banger.errors import HostError
from banger.host.command import Commands
from banger.host.diagnosis import run_checks
from banger.model.check import Check, CheckResult, CheckStatus
from banger.testing.fakes import FakeCommands


def test_check_that_hangs_is_a_warning_and_is_not_started_twice() -> None:
    go, calls = threading.Event(), []

    def hang(_: Commands) -> CheckResult:
        calls.append(1)
        go.wait(60)
        return CheckResult(CheckStatus.PASS, "at last")

    both = [("sea", Check("hangs", hang)), ("sea", Check("quick", _quick))]
    for _ in range(2):
        slow, quick = run_checks(FakeCommands(), both, seconds=0.2)
        assert slow.status is CheckStatus.WARN and "did not end" in slow.detail
        assert (quick.status, quick.detail) == (CheckStatus.PASS, "there")
    assert len(calls) == 1
    go.set()
    slow, _quick_again = run_checks(FakeCommands(), both, seconds=60)
    assert (slow.status, slow.detail) == (CheckStatus.PASS, "at last")


def test_findings_keep_order_and_owner_and_errors_their_hints() -> None:
    def refuse(_: Commands) -> CheckResult:
        raise HostError("no disk", hint="buy one")

    first, second = run_checks(FakeCommands(), [("sea", Check("b", refuse)), ("air", Check("a", _quick))])
    assert (first.plugin, first.name, first.status) == ("sea", "b", CheckStatus.FAIL)
    assert (first.detail, first.hint) == ("no disk", "buy one")
    assert (second.plugin, second.name) == ("air", "a")


def _quick(_: Commands) -> CheckResult:
    return CheckResult(CheckStatus.PASS, "there")
