"""Operations on what may be lent to VMs."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict

from banger.api import Operation, OperationContext


class Nothing(BaseModel):
    """No parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Offer(BaseModel):
    """One thing a VM may be lent. ``there``: the host has it; ``chosen``: every new VM is lent it."""

    name: str
    host: str
    guest: str
    plugin: str
    there: bool
    chosen: bool


class OfferList(BaseModel):
    """What may be lent, by name."""

    offers: tuple[Offer, ...]


def list_offers(op: OperationContext, _: Nothing) -> OfferList:
    """Return what plugins offer; no content is read but where nothing else tells whether there is any."""
    services = op.services
    chosen = services.settings.core.auth.sync
    return OfferList(
        offers=tuple(
            Offer(
                name=owned.value.name,
                host=owned.value.host_path,
                guest=owned.value.guest_path,
                plugin=owned.plugin,
                there=(
                    owned.value.read(services.commands) is not None
                    if owned.value.read is not None
                    else os.path.isfile(os.path.expanduser(owned.value.host_path))
                ),
                chosen=owned.value.name in chosen,
            )
            for owned in services.registries.auth_syncs.owned()
        )
    )


OPERATIONS = [Operation("auth.list", "what may be lent to VMs", Nothing, OfferList, list_offers)]
