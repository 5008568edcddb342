"""What lasts as long as the client that asked for it: its connection stays open, and its end is the client's end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from banger.daemon.background import in_thread
from banger.daemon.context import OperationContext, OperationRecord
from banger.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from banger.daemon.services import Services
    from banger.model.command import LeaseEnd

log = logging.getLogger(__name__)


@dataclass(slots=True)
class HeldLease:
    """One client's hold on what its operation makes; ``kept`` is set when it is to stay without him."""

    services: Services
    record: OperationRecord
    end: LeaseEnd
    kept: asyncio.Event = field(default_factory=asyncio.Event)

    async def last(self) -> None:
        """Return when the result is to stay without the client, or the daemon ends; cancelled when he goes."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.kept, self.services.stopping)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def give_up(self) -> None:
        """Cancel the operation; take away what it made all the same. Never raises."""
        record = self.record
        record.cancel.set()
        async for _ in record.follow():
            pass
        if record.result is None:
            return
        record.cancel.clear()
        try:
            await in_thread(self.services, self.end, OperationContext(self.services, record), record.result)
        except NotFoundError:
            log.debug("what %s made is gone already", record.name)
        except Exception:
            log.exception("what %s made could not be taken away", record.name)


class LeasedResponse(StreamingResponse):
    """An operation's events and result; then the connection stays until the client goes, and the lease with it."""

    def __init__(
        self, lease: HeldLease, events: AsyncIterator[bytes], headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(self._then_last(events), headers=headers, media_type=media_type)
        self._lease = lease

    async def _then_last(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for line in events:
            yield line
        if self._lease.record.error is None:
            await self._lease.last()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lease, services = self._lease, self._lease.services
        services.leases[lease.record.id] = lease
        try:
            await super().__call__(scope, receive, send)
        finally:
            del services.leases[lease.record.id]
            over = lease.record.error is not None or lease.kept.is_set() or services.stopping.is_set()
            if not over:
                log.info("the client of %s went away", lease.record.name)
                task: asyncio.Task[Any] = asyncio.create_task(lease.give_up())
                services.background.add(task)
                task.add_done_callback(services.background.discard)
