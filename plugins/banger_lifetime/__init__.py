"""How long VMs last: ``--ttl`` deletes one after a time, ``--auto-stop`` stops one that nobody uses."""

from __future__ import annotations

from banger.api import Capability, Service, hookimpl


@hookimpl
def banger_register_capabilities() -> list[Capability]:
    """Declare the capability ``lifetime``."""
    return [
        Capability(
            "lifetime",
            "deleted after a time (ttl), stopped when nobody used it for one (auto_stop)",
            options="banger_lifetime.options:Options",
        )
    ]


@hookimpl
def banger_register_services() -> list[Service]:
    """Declare what watches the time."""
    from banger_lifetime.service import serve

    return [Service("lifetime", "stops and deletes VMs whose time is over", serve)]
