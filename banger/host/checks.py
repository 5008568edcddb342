"""What ``banger doctor`` looks at on every host."""

from __future__ import annotations

import os
import platform
import shutil
import time
from datetime import UTC, datetime

import banger
from banger.config.paths import find_paths
from banger.errors import HostError
from banger.host.command import PACKAGES, Commands
from banger.host.logout import LOGOUT
from banger.host.ssh_include import find_home, is_installed
from banger.host.storage import Storage, find_existing, probe_storage
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
    state = find_existing(find_paths().state)
    free = shutil.disk_usage(state).free
    detail = f"{format_bytes(free)} free in {state}"
    if free < _LEAST_FREE:
        return CheckResult(CheckStatus.FAIL, detail, "free some space, or set XDG_STATE_HOME to another disk")
    if free < _GOOD_FREE:
        return CheckResult(
            CheckStatus.WARN, detail, "an image needs about 2 GiB; banger image list shows sizes"
        )
    return CheckResult(CheckStatus.PASS, detail)


def check_storage(_: Commands) -> CheckResult:
    """What the file system of the state directory can do: holes and locks are needed, reflinks are welcome."""
    state = find_existing(find_paths().state)
    try:
        storage = probe_storage(state)
    except OSError as error:
        return CheckResult(
            CheckStatus.FAIL,
            f"no file can be made in {state}: {error.strerror}",
            f"check its owner and free space: ls -ld {state}; df -h {state}",
        )
    return judge_storage(storage, str(state))


def judge_storage(storage: Storage, where: str) -> CheckResult:
    """Return what a file system means for banger."""
    hint = "set XDG_STATE_HOME to a directory on a local disk (ext4, xfs, btrfs)"
    missing = [
        name for name, there in (("sparse files", storage.sparse), ("file locks", storage.locks)) if not there
    ]
    detail = f"{storage.kind} at {where}"
    if missing:
        return CheckResult(CheckStatus.FAIL, f"{detail} cannot do {' and '.join(missing)}", hint)
    if storage.is_remote:
        return CheckResult(CheckStatus.WARN, f"{detail} is on the network: disks are slow there", hint)
    copies = "reflinks" if storage.reflink else "no reflinks"
    return CheckResult(CheckStatus.PASS, f"{detail}: sparse files, locks, {copies}")


def check_ssh(commands: Commands) -> CheckResult:
    """OpenSSH's client, for those who reach VMs by ssh."""
    if commands.find("ssh") is None:
        return CheckResult(CheckStatus.WARN, "ssh is not installed", "sudo apt install openssh-client")
    said = commands.run(["ssh", "-V"], timeout=5, check=False).stderr.decode(errors="replace").strip()
    return CheckResult(CheckStatus.PASS, said.partition(",")[0][:80] or "installed")


def check_ssh_config(_: Commands) -> CheckResult:
    """Whether programs over ssh find VMs by name."""
    user_config, config = find_home() / ".ssh" / "config", find_paths().state / "ssh" / "config"
    try:
        installed = is_installed(user_config, config)
    except HostError as error:
        return CheckResult(CheckStatus.WARN, error.message, error.hint)
    if not installed or not config.exists():
        detail = f"{user_config} does not include banger's: only banger vm ssh finds VMs"
        return CheckResult(CheckStatus.WARN, detail, "banger ssh-config --install")
    return CheckResult(CheckStatus.PASS, f"ssh NAME.vm works through {user_config}")


def check_proxies(_: Commands) -> CheckResult:
    """Which proxies pulls go through; their values may hold passwords and are not shown."""
    names = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
    spellings = {name: (os.environ.get(name), os.environ.get(name.upper())) for name in names}
    for name, (lower, upper) in spellings.items():
        if lower is not None and upper is not None and lower != upper:
            return CheckResult(
                CheckStatus.WARN,
                f"{name} and {name.upper()} differ, and programs choose as they like",
                f'export {name.upper()}="${name}"; banger daemon stop',
            )
    there = [name for name, values in spellings.items() if any(values)]
    return CheckResult(CheckStatus.PASS, f"set: {', '.join(there)}" if there else "none set")


def check_time(_: Commands) -> CheckResult:
    """The clock is not behind banger's own files: with a wrong one, no certificate or signature is valid."""
    now, installed = time.time(), os.stat(banger.__file__).st_mtime
    today = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC"
    if now < installed - 86400:
        return CheckResult(
            CheckStatus.WARN,
            f"the clock says {today}, before banger was installed",
            "sudo timedatectl set-ntp true",
        )
    return CheckResult(CheckStatus.PASS, today)


CHECKS = (
    Check("machine", check_machine),
    Check("clock", check_time),
    Check("disk tools", check_disk_tools),
    Check("disk space", check_space),
    Check("file system", check_storage),
    Check("ssh", check_ssh),
    Check("ssh config", check_ssh_config),
    Check("proxies", check_proxies),
    LOGOUT,
)
