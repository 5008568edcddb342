"""Work in threads that no call waits for, counted all the same: a daemon with some of it is not idle."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from banger.daemon.services import Services


async def in_thread(services: Services, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a blocking function in the daemon's pool, with the operation's id on its log lines."""
    context = contextvars.copy_context()
    return await services.loop.run_in_executor(services.pool, lambda: context.run(function, *arguments))


def run_in_background(services: Services, function: Callable[..., Any], *arguments: Any) -> None:
    """Start a blocking function in the daemon's pool and keep an eye on it; on the loop."""
    task: asyncio.Future[Any] = asyncio.ensure_future(in_thread(services, function, *arguments))
    services.background.add(task)
    task.add_done_callback(services.background.discard)
