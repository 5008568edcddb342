"""What ``banger doctor`` looks at on every host."""

from __future__ import annotations

import platform
import shutil

from banger.config.paths import find_paths
from banger.host.command import PACKAGES, Commands
from banger.host.logout import LOGOUT
from banger.model.check import Check, CheckResult, CheckStatus
from banger.model.size import format_bytes

#: Bytes free under the state directory: below the first nothing works, below the second an image may not fit.
_LEAST_FREE, _GOOD_FREE = 256 * 1024**2, 4 * 1024**3


def check_machine(_: Commands) -> CheckResult:
    """Linux on a machine there are VMs for."""
    machine = f"{platform.system()} {platform.release()}, {platform.machine()}"
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return CheckResult(CheckStatus.FAIL, machine, "banger runs on x86_64 Linux")
    return CheckResult(CheckStatus.PASS, machine)


def check_disk_tools(commands: Commands) -> CheckResult:
    """The programs disks are made with."""
    missing = [name for name in ("mke2fs", "debugfs", "qemu-img") if commands.find(name) is None]
    if missing:
        packages = sorted({PACKAGES[name] for name in missing})
        return CheckResult(
            CheckStatus.FAIL, f"missing: {', '.join(missing)}", f"sudo apt install {' '.join(packages)}"
        )
    return CheckResult(CheckStatus.PASS, "mke2fs, debugfs, qemu-img")


def check_space(_: Commands) -> CheckResult:
    """Room where VMs and images are kept."""
    state = find_paths().state
    free = shutil.disk_usage(state).free
    detail = f"{format_bytes(free)} free in {state}"
    if free < _LEAST_FREE:
        return CheckResult(CheckStatus.FAIL, detail, "free some space, or set XDG_STATE_HOME to another disk")
    if free < _GOOD_FREE:
        return CheckResult(
            CheckStatus.WARN, detail, "an image needs about 2 GiB; banger image list shows sizes"
        )
    return CheckResult(CheckStatus.PASS, detail)


CHECKS = (
    Check("machine", check_machine),
    Check("disk tools", check_disk_tools),
    Check("disk space", check_space),
    LOGOUT,
)
