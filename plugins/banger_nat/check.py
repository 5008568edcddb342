"""What doctor says of the way out."""

from __future__ import annotations

from pathlib import Path

from banger.api import BangerError, CheckResult, CheckStatus, Commands, HostPrivileged, ShowNat
from banger_nat.blockers import describe_blockers, on_the_way_out
from banger_nat.note import find_places

#: Where the kernel says of each link, or of all, whether it forwards.
_SETTINGS = Path("/proc/sys/net/ipv4")


def check_nat(commands: Commands, settings: Path = _SETTINGS) -> CheckResult:
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
        for blocker in on_the_way_out(nat["blockers"]):
            return CheckResult(CheckStatus.WARN, *describe_blockers(blocker, bridge))
        if nat["guests"] and not nat["forwarding"]:
            return CheckResult(
                CheckStatus.FAIL, "forwarding was turned off", "sudo sysctl -w net.ipv4.ip_forward=1"
            )
        if nat["guests"] and _is_off(settings / "conf" / bridge / "forwarding"):
            key = f"net.ipv4.conf.{bridge}.forwarding"
            return CheckResult(
                CheckStatus.FAIL,
                f"forwarding is turned off for {bridge}: by a policy in /etc/sysctl.d, or another program",
                f"grep -r forwarding /etc/sysctl.d /etc/sysctl.conf; sudo sysctl -w {key}=1",
            )
    count = sum(len(nat["guests"]) for _, nat in shown)
    return CheckResult(CheckStatus.PASS, f"{count} VMs have a way out by nat")


def _is_off(setting: Path) -> bool:
    try:
        return setting.read_text().strip() == "0"
    except OSError:  # the link is in another namespace, or gone
        return False
