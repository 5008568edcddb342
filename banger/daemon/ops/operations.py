"""Operations on operations: to see, follow and cancel them, and to keep what they made."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from banger.daemon.context import OperationContext, OperationRecord
from banger.daemon.ops.self import Nothing
from banger.errors import ConflictError, UsageError
from banger.model.command import Operation


class OpParams(BaseModel):
    """One operation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    op_id: str = Field(max_length=40)


class OpSummary(BaseModel):
    """An operation, running or finished."""

    op_id: str
    name: str
    done: bool
    started: float
    finished: float | None
    error: dict[str, Any] | None
    stage: str | None


class OpList(BaseModel):
    """Every running operation and the last finished ones, oldest first."""

    operations: tuple[OpSummary, ...]


def _summary(record: OperationRecord) -> OpSummary:
    stages = [event["stage"] for event in record.events if event["event"] == "stage"]
    return OpSummary(
        op_id=record.id,
        name=record.name,
        done=record.finished is not None,
        started=record.started,
        finished=record.finished,
        error=record.error,
        stage=stages[-1] if stages else None,
    )


async def list_operations(op: OperationContext, _: Nothing) -> OpList:
    """List operations."""
    return OpList(operations=tuple(_summary(record) for record in op.services.operations.all()))


async def show_operation(op: OperationContext, params: OpParams) -> OpSummary:
    """Show one operation."""
    return _summary(op.services.operations.resolve(params.op_id))


async def follow_operation(op: OperationContext, params: OpParams) -> OpSummary:
    """Pass another operation's events on until it is finished, for a client that comes back to it."""
    record = op.services.operations.resolve(params.op_id)
    if record is op.record:
        raise UsageError("an operation cannot follow itself", hint="see: op.list")
    async for event in record.follow():
        op.record.publish(event)
    return _summary(record)


async def cancel_operation(op: OperationContext, params: OpParams) -> OpSummary:
    """Ask an operation to stop; it undoes what it did."""
    record = op.services.operations.resolve(params.op_id)
    if record.finished is None:
        record.cancel.set()
    return _summary(record)


async def keep_made(op: OperationContext, params: OpParams) -> OpSummary:
    """Let what an operation made for as long as its client is there stay without it."""
    lease = op.services.leases.get(params.op_id)
    if lease is None:
        raise ConflictError(
            f"no client holds what '{params.op_id}' made: it stays, or it is gone", hint="see: banger vm list"
        )
    lease.kept.set()
    return _summary(lease.record)


OPERATIONS = [
    Operation("op.list", "list operations", Nothing, OpList, list_operations),
    Operation("op.show", "show an operation", OpParams, OpSummary, show_operation),
    Operation("op.follow", "follow an operation to its end", OpParams, OpSummary, follow_operation),
    Operation("op.cancel", "cancel an operation", OpParams, OpSummary, cancel_operation),
    Operation("op.keep", "keep what an operation made when its client goes", OpParams, OpSummary, keep_made),
]
