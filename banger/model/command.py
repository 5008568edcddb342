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


#: Takes away what an operation made, given its context and its result; in a worker thread.
LeaseEnd = Callable[["OperationContext", dict[str, Any]], object]


@dataclass(frozen=True, slots=True)
class Lease:
    """An operation's promise to its client: what it makes goes when the client's connection ends, however it ends.

    The connection stays open after the result. ``op.keep`` lets what was made stay without it.

    :param wanted: tells from the parameters whether this call is one of those.
    :param end: takes away what was made; NotFoundError when it is gone already.
    """

    wanted: Callable[[Any], bool]
    end: LeaseEnd


@dataclass(frozen=True, slots=True)
class Operation:
    """What the daemon answers to, as ``POST /v1/<name>``.

    :param params: pydantic model of the request's body, unknown keys refused.
    :param result: pydantic model of the answer.
    :param run: a plain function runs in a worker thread and may block; an ``async def`` runs on the daemon's loop
        and must not.
    :param lease: what it makes may last as long as the client that follows it; None: what was asked for is done, and
        stays.
    """

    name: str
    summary: str
    params: type[BaseModel]
    result: type[BaseModel]
    run: Callable[[OperationContext, Any], BaseModel | Awaitable[BaseModel]]
    lease: Lease | None = None
