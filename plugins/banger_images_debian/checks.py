"""What doctor looks at for building images; the other VMs and images do without."""

from __future__ import annotations

from pathlib import Path

from banger.api import Check, CheckResult, CheckStatus, Commands, HostError
from banger_images_debian.namespace import find_namespace

_KEYRING = "usr/share/keyrings/debian-archive-keyring.gpg"


def check_build_tools(commands: Commands, root: Path = Path("/")) -> CheckResult:
    """The program that builds, and the keys that its packages are signed with."""
    missing = []
    if commands.find("mmdebstrap") is None:
        missing.append("mmdebstrap")
    if not (root / _KEYRING).is_file():
        missing.append("debian-archive-keyring")
    if missing:
        return CheckResult(
            CheckStatus.WARN,
            f"not installed: {', '.join(missing)}; Debian images cannot be built",
            f"sudo apt install {' '.join(missing)}",
        )
    return CheckResult(CheckStatus.PASS, "mmdebstrap, debian-archive-keyring")


def check_namespaces(commands: Commands) -> CheckResult:
    """The namespace that a build would run in can be made."""
    try:
        namespace = find_namespace(commands)
    except HostError as error:
        return CheckResult(CheckStatus.WARN, f"{error.message}; Debian images cannot be built", error.hint)
    if namespace.mapped:
        return CheckResult(CheckStatus.PASS, "user namespaces and subordinate ids work")
    return CheckResult(CheckStatus.PASS, "not needed: banger runs as root")


CHECKS = (Check("image builds", check_build_tools), Check("user namespaces", check_namespaces))
