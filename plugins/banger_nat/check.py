"""What doctor says of the way out."""

from __future__ import annotations

from pathlib import Path

from banger.api import BangerError, CheckResult, CheckStatus, Commands, HostPrivileged, ShowNat
from banger_nat.blockers import describe_blockers
from banger_nat.note import find_places

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def check_nat(commands: Commands) -> CheckResult:
    """Whether what VMs on a bridge send gets out."""
    privileged = HostPrivileged()
    if privileged.find() is None:
        return CheckResult(
            CheckStatus.PASS, "not for this user; VMs of the network user have a way out of their own"
        )
    try:
        shown = [(bridge, privileged.call(ShowNat(bridge, mark))) for bridge, mark in sorted(find_places())]
    except BangerError as error:
        return CheckResult(CheckStatus.WARN, error.message, error.hint)
    for bridge, nat in shown:
        for blocker in nat["blockers"]:
            return CheckResult(CheckStatus.WARN, *describe_blockers(blocker, bridge))
        if nat["guests"] and not nat["forwarding"]:
            return CheckResult(
                CheckStatus.FAIL, "forwarding was turned off", "sudo sysctl -w net.ipv4.ip_forward=1"
            )
    count = sum(len(nat["guests"]) for _, nat in shown)
    return CheckResult(CheckStatus.PASS, f"{count} VMs have a way out by nat")
