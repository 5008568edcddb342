"""What a VM is lent: chosen when it is made, looked at before anything else is done, read again at each start."""

from __future__ import annotations

from collections.abc import Collection

from banger.config.lent import NOTHING, lent_auth
from banger.daemon.services import Services
from banger.errors import BangerError, UsageError
from banger.host.lent import read_lent
from banger.model.auth import Lent


def choose_auth(
    services: Services, asked: tuple[str, ...], capabilities: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the names of what a new VM is lent: what is configured, was asked for, and comes with its capabilities.

    :raises NotFoundError: a name that no plugin offers. :raises UsageError: ``none`` beside others.
    """
    if NOTHING in asked:
        if set(asked) != {NOTHING}:
            raise UsageError(f"--auth {NOTHING} goes with no other --auth", hint=f"--auth {NOTHING}")
        return (NOTHING,)
    table = services.registries.capabilities
    along = (name for capability in capabilities if capability in table for name in table[capability].lends)
    chosen = tuple(dict.fromkeys((*services.settings.core.auth.sync, *asked, *along)))
    for name in chosen:
        try:
            services.registries.auth_syncs.resolve(name)
        except BangerError as error:
            error.hint = error.hint or "see: banger auth list"
            raise
    return chosen


def resolve_lent(services: Services, chosen: tuple[str, ...]) -> tuple[Lent, ...]:
    """Return everything a VM is lent; a name whose plugin is gone is left out."""
    if NOTHING in chosen:
        return ()
    offers = services.registries.auth_syncs
    named = tuple(lent_auth(offers[name]) for name in chosen if name in offers)
    return (*named, *(entry.lent() for entry in services.settings.core.file_sync))


def check_lent(services: Services, chosen: tuple[str, ...]) -> None:
    """Refuse before anything is made what a start would refuse. :raises ConfigError: as reading it says."""
    for lent in resolve_lent(services, chosen):
        read_lent(lent, services.commands)
