"""What doctor and preflight look at for Firecracker."""

from __future__ import annotations

from banger.api import (
    BangerError,
    Check,
    CheckResult,
    CheckStatus,
    Commands,
    HostError,
    HostPrivileged,
    Privileged,
)
from banger_vmm_firecracker.probe import find_jailed, find_program, find_version, is_safe, probe_program
from banger_vmm_firecracker.run_state import DEAF_AFTER_PAUSE


def check_firecracker(commands: Commands) -> CheckResult:
    """The program is there, of a version without known holes. Not having it is no fault: QEMU serves."""
    path = find_program(commands)
    if path is None:
        return CheckResult(CheckStatus.PASS, "not installed; qemu serves")
    found = probe_program(commands, "kvm")
    if found.usable and found.version.startswith(DEAF_AFTER_PAUSE):
        detail = f"version {found.version}: guests cannot be reached after a pause"
        return CheckResult(CheckStatus.WARN, detail, "firecracker 1.15, or 1.17 and later")
    if found.usable:
        return CheckResult(CheckStatus.PASS, f"version {found.version}")
    try:
        harmless = is_safe(find_version(commands, path))
    except HostError:
        harmless = False
    status = CheckStatus.WARN if harmless else CheckStatus.FAIL
    return CheckResult(status, found.reason or "not usable", found.hint)


def check_jail(commands: Commands, privileged: Privileged | None = None) -> CheckResult:
    """A jail can be made for it: programs that are root's alone and of one version, a place that takes devices."""
    asked = privileged or HostPrivileged()
    if find_program(commands) is None:
        return CheckResult(CheckStatus.PASS, "not needed: firecracker is not installed")
    if asked.find() is None:
        return CheckResult(CheckStatus.PASS, "none: no root helper answers you, nor are you root")
    try:
        version = find_jailed(commands, asked)
    except BangerError as error:
        return CheckResult(CheckStatus.WARN, error.message, error.hint)
    return CheckResult(CheckStatus.PASS, f"firecracker runs in one, by jailer {version}")


CHECKS = (Check("firecracker", check_firecracker), Check("firecracker-jail", check_jail))
