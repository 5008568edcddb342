"""What doctor and preflight look at for Firecracker."""

from __future__ import annotations

from banger.api import Check, CheckResult, CheckStatus, Commands, HostError
from banger_vmm_firecracker.probe import find_program, find_version, is_safe, probe


def check_firecracker(commands: Commands) -> CheckResult:
    """The program is there, of a version without known holes. Not having it is no fault: QEMU serves."""
    path = find_program(commands)
    if path is None:
        return CheckResult(CheckStatus.PASS, "not installed; qemu serves")
    found = probe(commands, "kvm")
    if found.usable:
        return CheckResult(CheckStatus.PASS, f"version {found.version}")
    try:
        harmless = is_safe(find_version(commands, path))
    except HostError:
        harmless = False
    status = CheckStatus.WARN if harmless else CheckStatus.FAIL
    return CheckResult(status, found.reason or "not usable", found.hint)


CHECKS = (Check("firecracker", check_firecracker),)
