"""opencode in VMs: its login may be lent to them."""

from __future__ import annotations

from banger.api import AuthSync, hookimpl


@hookimpl
def banger_register_auth_syncs() -> list[AuthSync]:
    """Declare ``opencode``."""
    path = "~/.local/share/opencode/auth.json"
    return [AuthSync("opencode", path, path)]
