"""What doctor looks at for container images."""

from __future__ import annotations

from banger.api import Check, CheckResult, CheckStatus, Commands


def check_tools(commands: Commands) -> CheckResult:
    """The programs that write the disk."""
    missing = [program for program in ("mke2fs", "tune2fs", "debugfs") if commands.find(program) is None]
    if missing:
        return CheckResult(
            CheckStatus.WARN,
            f"not installed: {', '.join(missing)}; container images cannot be pulled",
            "sudo apt install e2fsprogs",
        )
    return CheckResult(CheckStatus.PASS, "mke2fs, tune2fs, debugfs")


CHECKS = (Check("container images", check_tools),)
