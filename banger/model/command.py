"""Commands and operations: what the command line offers and what the daemon answers to, as values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

    from banger.daemon.context import OperationContext


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the CLI, imported only when it is run.

    :param name: words separated by blanks: ``vm run``.
    :param help: one line.
    :param target: ``"module:object"`` of a click command.
    """

    name: str
    help: str
    target: str


@dataclass(frozen=True, slots=True)
class Operation:
    """What the daemon answers to, as ``POST /v1/<name>``.

    :param params: pydantic model of the request's body, unknown keys refused.
    :param result: pydantic model of the answer.
    :param run: a plain function runs in a worker thread and may block; an ``async def`` runs on the daemon's loop
        and must not.
    :param abandon: tells from the parameters whether the operation is cancelled when the client that follows it goes
        away; None never does: what was asked for is done.
    """

    name: str
    summary: str
    params: type[BaseModel]
    result: type[BaseModel]
    run: Callable[[OperationContext, Any], BaseModel | Awaitable[BaseModel]]
    abandon: Callable[[Any], bool] | None = None
