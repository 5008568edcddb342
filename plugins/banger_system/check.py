"""Doctor's look at an installation."""

from __future__ import annotations

from banger.api import BangerError, CheckResult, CheckStatus, Commands, find_install
from banger_system.guard import find_writable
from banger_system.layout import DAEMON_UNIT, HELPER_UNIT, Layout
from banger_system.service import find_unit
from banger_system.tools import find_stale

_AGAIN = 'sudo "$(command -v banger)" system install --owner'
_NONE = CheckResult(CheckStatus.PASS, "user mode: no service is installed, and none is needed")


def check_code(commands: Commands, layout: Layout | None = None) -> CheckResult:
    """Nobody but root can change what the services run."""
    layout = layout or Layout()
    if not layout.install.exists():
        return _NONE
    paths = [layout.code, layout.unit(HELPER_UNIT), layout.unit(DAEMON_UNIT)]
    found = next(find_writable(paths, layout.uid, layout.root), None)
    if found is None:
        return CheckResult(CheckStatus.PASS, f"{layout.code} and both units are root's alone")
    return CheckResult(
        CheckStatus.FAIL,
        f"{found}: whoever can change what the services run is root",
        f"sudo chown -R root: {layout.code}; sudo chmod -R go-w {layout.code}; or {_AGAIN} USER",
    )


def check_services(commands: Commands, layout: Layout | None = None) -> CheckResult:
    """Both services run."""
    layout = layout or Layout()
    try:
        found = find_install(layout.install, layout.uid)
    except BangerError as error:
        return CheckResult(CheckStatus.FAIL, error.message, error.hint)
    if found is None:
        return _NONE
    for name in (HELPER_UNIT, DAEMON_UNIT):
        unit = find_unit(name, commands)
        if unit.state != "active":
            detail = f"{name} is {unit.state}" + (f" ({unit.detail})" if unit.detail else "")
            return CheckResult(
                CheckStatus.FAIL, detail, f"journalctl -u {name}; sudo systemctl restart {name}"
            )
    if stale := find_stale(layout.code / "bin", commands):
        detail = (
            f"the daemon's copy of the host's {' and '.join(stale)} is not of now, which builds of images run"
        )
        return CheckResult(CheckStatus.WARN, detail, f"{_AGAIN} {found.owner}")
    return CheckResult(CheckStatus.PASS, f"both run, for {found.owner}, banger {found.version}")
