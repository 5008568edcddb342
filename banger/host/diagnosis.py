"""Running checks, all at once, each within its time: in the daemon, and in the client when there is no daemon."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from banger.errors import BangerError
from banger.host.command import Commands
from banger.model.check import Check, CheckResult, CheckStatus

#: Seconds that a check gets.
CHECK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a plugin's check found."""

    plugin: str
    name: str
    status: CheckStatus
    detail: str
    hint: str | None


class _Run(threading.Thread):
    """A check in a thread of its own, which nobody waits for at the end of the process."""

    def __init__(self, plugin: str, check: Check, commands: Commands) -> None:
        super().__init__(name=f"check {check.name}", daemon=True)
        self.plugin, self.check, self._commands = plugin, check, commands
        self.found: CheckResult | None = None

    def run(self) -> None:
        try:
            self.found = _valid(self.check.run(self._commands))
        except BangerError as error:
            self.found = CheckResult(CheckStatus.FAIL, error.message, error.hint)
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            self.found = CheckResult(
                CheckStatus.FAIL, f"the check itself failed: {said}", f"report it to plugin {self.plugin}"
            )


#: Checks that did not end in time and still run: they are not started a second time.
_hanging: dict[tuple[str, str], _Run] = {}


def run_checks(
    commands: Commands, checks: Sequence[tuple[str, Check]], seconds: float = CHECK_SECONDS
) -> list[Finding]:
    """Run checks at the same time and return what they found, in their order; one that hangs is a WARN.

    :param checks: each with the plugin it belongs to.
    :param seconds: what all of them get together.
    """
    runs = [_start(plugin, check, commands) for plugin, check in checks]
    deadline = time.monotonic() + seconds
    for run in runs:
        run.join(max(deadline - time.monotonic(), 0.0))
    return [_finding(run, seconds) for run in runs]


def _start(plugin: str, check: Check, commands: Commands) -> _Run:
    key = (plugin, check.name)
    before = _hanging.pop(key, None)
    if before is not None and before.is_alive():
        _hanging[key] = before
        return before
    run = _Run(plugin, check, commands)
    run.start()
    return run


def _finding(run: _Run, seconds: float) -> Finding:
    found = run.found
    if found is None:
        _hanging[run.plugin, run.check.name] = run
        found = CheckResult(
            CheckStatus.WARN, f"did not end within {seconds:.0f} s", "see what hangs: banger daemon logs"
        )
    return Finding(run.plugin, run.check.name, found.status, found.detail, found.hint)


def _valid(result: object) -> CheckResult:
    """Return a check's result; TypeError for what is none, as plugins are not type-checked."""
    if not isinstance(result, CheckResult):
        raise TypeError(f"it returned '{type(result).__name__}', not CheckResult")
    if not isinstance(result.status, CheckStatus):
        raise TypeError("its status is not one of CheckStatus")
    if not isinstance(result.detail, str):
        raise TypeError("its detail is not text")
    if result.hint is not None and not isinstance(result.hint, str):
        raise TypeError("its hint is not text")
    return result
