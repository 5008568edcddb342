"""What doctor says of limits."""

from __future__ import annotations

from banger.api import CheckResult, CheckStatus, Commands
from banger_limits.groups import find_base
from banger_limits.tree import HostTree


def check_limits(commands: Commands) -> CheckResult:
    """Whether VMs' processes are bounded by control groups."""
    base, reason = find_base(HostTree())
    if base is not None:
        return CheckResult(CheckStatus.PASS, f"each VM has a control group of its own, in {base}")
    return CheckResult(
        CheckStatus.PASS,
        f"VMs are bounded by their own memory and processors only: {reason}",
    )
