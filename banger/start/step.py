"""What a start is made of: steps between milestones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from banger.start.context import StartContext, UndoContext

#: The core's milestones, in order. A step names the one it comes after and the one it comes before.
MILESTONES = ("preflight", "disks-ready", "net-ready", "booted", "guest-ready", "started")


@dataclass(frozen=True, slots=True)
class StartStep:
    """One step of a VM's start.

    :param name: unique among all plugins; lower case and dashes.
    :param run: does the work. Blocking, in a worker thread. Calls ``ctx.record(key, value)`` *before* it acquires
        what the value names.
    :param after: milestones (or ``name`` of another step) that come first.
    :param before: milestones (or steps) that come later.
    :param after_if_present: steps that come first where they are in the plan at all.
    :param undo: releases what lives as long as the VM runs. Gets only the VM's row and this step's section of
        ``handles.json``; idempotent, tolerates half-done work, and works in a process that never ran ``run``.
        It is pushed before ``run``, so it also runs for the step that failed.
    :param remove: releases what lives as long as the VM itself; on delete, and on a failed create for what this
        start made. Same rules as ``undo``.
    :param quiesce: runs before power-off, in reverse order, 2 s at most; its failure is logged, never fatal.
    """

    name: str
    run: Callable[[StartContext], None]
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after_if_present: tuple[str, ...] = ()
    undo: Callable[[UndoContext], None] | None = None
    remove: Callable[[UndoContext], None] | None = None
    quiesce: Callable[[UndoContext], None] | None = None
