"""What the plugin offers."""

from __future__ import annotations

from banger_opencode import banger_register_auth_syncs


def test_the_login_goes_to_its_place_for_its_owner_alone() -> None:
    [entry] = banger_register_auth_syncs()
    assert (entry.name, entry.mode) == ("opencode", 0o600)
    assert entry.host_path == entry.guest_path == "~/.local/share/opencode/auth.json"
