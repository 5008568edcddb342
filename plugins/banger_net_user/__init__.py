"""User-mode networking: no privileges, a loopback address for each VM."""

from __future__ import annotations

from banger.api import NetworkMode, hookimpl


@hookimpl
def banger_register_settings() -> list[str]:
    """Declare ``[plugins.net-user]``."""
    return ["banger_net_user.settings:Settings"]


@hookimpl
def banger_register_networks() -> list[NetworkMode]:
    """Declare the network ``user``."""
    from banger_net_user.address import assign
    from banger_net_user.attach import prepare, release

    return [
        NetworkMode(
            name="user",
            summary="no privileges needed; each VM has its own loopback address on the host",
            attachment="qemu-user",
            prepare=prepare,
            release=release,
            assign=assign,
            gives=frozenset({"egress", "publish", "host-address"}),
            leads_out=lambda settings: not settings.restrict,
        )
    ]
