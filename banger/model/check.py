"""Checks: what doctor prints and preflight refuses on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from banger.host.command import Commands


class CheckStatus(StrEnum):
    """PASS: holds. WARN: works, but less well. FAIL: what needs it will not work."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    :param detail: one line: the version, the path, or what is wrong.
    :param hint: for WARN and FAIL, the command or setting that mends it.
    """

    status: CheckStatus
    detail: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One thing doctor looks at; ``run`` gets the command seam, must not change anything and ends within 10 s."""

    name: str
    run: Callable[[Commands], CheckResult]
