"""What doctor says of the bridge, and whether VMs are put on it unasked."""

from __future__ import annotations

import os
from pathlib import Path

from banger.api import BangerError, CheckResult, CheckStatus, Commands, HostPrivileged, ShowStatus

_TUN = Path("/dev/net/tun")


def is_offered() -> bool:
    """Tell whether VMs are on the bridge unless somebody says otherwise: where the root helper is this user's."""
    privileged = HostPrivileged()
    if privileged.find() != "helper":
        return False
    try:
        return bool(privileged.call(ShowStatus())["owner"] == os.getuid())
    except BangerError:
        return False


def check_bridge(commands: Commands) -> CheckResult:
    """Whether VMs can have an address of their own."""
    how = HostPrivileged().find()
    if how is None:
        return CheckResult(
            CheckStatus.PASS, "not for this user, who has no root helper; --net user needs none"
        )
    if how == "helper":
        try:
            HostPrivileged().call(ShowStatus())
        except BangerError as error:
            return CheckResult(CheckStatus.FAIL, error.message, error.hint)
    if not _TUN.exists():
        return CheckResult(
            CheckStatus.WARN, f"{_TUN} is not there, so no tap can be made", "sudo modprobe tun"
        )
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return CheckResult(CheckStatus.FAIL, f"{_TUN} is not this user's to open", f"sudo chmod 666 {_TUN}")
    if commands.find("nft") is None:
        return CheckResult(
            CheckStatus.WARN, "nft is not installed: no VM starts on the bridge", "sudo apt install nftables"
        )
    return CheckResult(
        CheckStatus.PASS, "by the root helper" if how == "helper" else "by banger itself, as root"
    )
