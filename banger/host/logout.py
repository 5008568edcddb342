"""Whether the user's processes, VMs among them, live on when the user logs out."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from banger.host.command import Commands
from banger.model.check import Check, CheckResult, CheckStatus

#: Where logind's settings are, the least important first; drop-ins stand over the main file.
_MAIN = ("/usr/lib/systemd/logind.conf", "/run/systemd/logind.conf", "/etc/systemd/logind.conf")
_FOLDERS = ("/usr/lib/systemd/logind.conf.d", "/run/systemd/logind.conf.d", "/etc/systemd/logind.conf.d")
_LINGER = Path("/var/lib/systemd/linger")
#: Bytes of a file that is read.
_LIMIT = 65536


def check_logout(_: Commands) -> CheckResult:
    """VMs outlive a logout unless logind ends whatever a user leaves behind."""
    user = _user()
    settings = read_settings(Path("/"))
    kills = settings.get("KillUserProcesses", "no").lower() in ("1", "yes", "true", "on", "y", "t")
    only, spared = settings.get("KillOnlyUsers", "").split(), settings.get("KillExcludeUsers", "root").split()
    if not kills or user in spared or (only and user not in only):
        return CheckResult(CheckStatus.PASS, "VMs go on when you log out")
    if (_LINGER / user).exists():
        return CheckResult(CheckStatus.PASS, f"VMs go on when you log out: {user} lingers")
    detail = "logind ends your VMs when you log out (KillUserProcesses=yes)"
    return CheckResult(CheckStatus.WARN, detail, f"loginctl enable-linger {user}")


def read_settings(root: Path) -> dict[str, str]:
    """Return logind's settings, the last file that has one counting."""
    drop_ins: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in sorted((root / folder.lstrip("/")).glob("*.conf")):
            drop_ins[path.name] = path  # one in /etc hides its namesake in /usr
    main = [path for name in _MAIN if (path := root / name.lstrip("/")).exists()][-1:]
    found: dict[str, str] = {}
    for path in (*main, *(drop_ins[name] for name in sorted(drop_ins))):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(_LIMIT)
        except OSError:
            continue
        for line in text.splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.lstrip().startswith(("#", ";")):
                found[key.strip()] = value.strip()
    return found


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


LOGOUT = Check("logout", check_logout)
