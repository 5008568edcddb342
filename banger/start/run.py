"""Running a plan and taking it back. One teardown serves failed starts, stop, kill, delete and reconcile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from banger.errors import BangerError, PluginError
from banger.host.command import uncancelled
from banger.registry import Owned
from banger.start.context import StartContext, UndoContext
from banger.start.step import StartStep
from banger.store.handles import Handles, Section

log = logging.getLogger(__name__)

Steps = Mapping[str, Owned[StartStep]]
UndoFactory = Callable[[Section], UndoContext]

#: Seconds a step's quiesce gets before the power-off goes on without it.
QUIESCE_SECONDS = 2.0


def run_plan(
    plan: Iterable[Owned[StartStep]],
    handles: Handles,
    run_id: str,
    context_for: Callable[[Owned[StartStep], Section], StartContext],
    undo_for: UndoFactory,
    *,
    forget: bool,
) -> dict[str, float]:
    """Run steps in order; on failure take back what was done and raise.

    :param run_id: names this start in the sections it enters.
    :param forget: also remove the VM resources this start made (a failed create).
    :returns: seconds each step took, in order.
    :raises BangerError: the original error, naming step and plugin; an ExceptionGroup, its first line the original
        error, when taking back failed too.
    """
    timings: dict[str, float] = {}
    table: dict[str, Owned[StartStep]] = {}
    for owned in plan:
        step = owned.value
        table[step.name] = owned
        began = time.monotonic()
        try:
            section = handles.enter(step.name, owned.plugin, run_id, keep=step.remove is not None)
            step.run(context_for(owned, section))
        except BaseException as error:
            _name_step(error, owned)
            log.warning("step %s of plugin %s failed: %s", step.name, owned.plugin, error)
            failures = undo_steps(table, handles, undo_for)
            if forget:
                failures += remove_steps(table, handles, undo_for, made_by=run_id)
            if failures and isinstance(error, Exception):
                raise ExceptionGroup(str(error), [error, *failures]) from error
            raise
        timings[step.name] = round(time.monotonic() - began, 4)
    return timings


def _name_step(error: BaseException, owned: Owned[StartStep]) -> None:
    if isinstance(error, BangerError):
        error.step = error.step or owned.value.name
        error.plugin = error.plugin or owned.plugin
    else:
        error.add_note(f"in step '{owned.value.name}' of plugin '{owned.plugin}'")


def undo_steps(steps: Steps, handles: Handles, undo_for: UndoFactory) -> list[Exception]:
    """Release every run resource, in reverse order. Every undo runs; what failed is returned and stays recorded."""
    live = [section for section in reversed(handles.sections) if section.live]
    return _take_back("undo", live, steps, handles.release, undo_for)


def remove_steps(
    steps: Steps, handles: Handles, undo_for: UndoFactory, *, made_by: str | None
) -> list[Exception]:
    """Release VM resources, in reverse order; only those that the start ``made_by`` made, or all when None."""
    kept = [
        section
        for section in reversed(handles.sections)
        if section.keep and not section.live and made_by in (None, section.made_by)
    ]
    return _take_back("remove", kept, steps, handles.drop, undo_for)


def _take_back(
    what: Literal["undo", "remove"],
    sections: list[Section],
    steps: Steps,
    done: Callable[[Section], None],
    undo_for: UndoFactory,
) -> list[Exception]:
    failures: list[Exception] = []
    for section in sections:
        try:
            owned = steps.get(section.step)
            if owned is None:
                raise missing_step(section)
            function = owned.value.undo if what == "undo" else owned.value.remove
            if function is not None:
                with uncancelled():
                    function(undo_for(section))
            done(section)
        except (Exception, SystemExit) as error:
            log.exception("%s of step %s (plugin %s) failed", what, section.step, section.plugin)
            failure = error if isinstance(error, Exception) else PluginError(f"it called sys.exit({error})")
            failure.add_note(f"in the {what} of step '{section.step}' of plugin '{section.plugin}'")
            failures.append(failure)
    return failures


def missing_step(section: Section, vm: str = "NAME") -> PluginError:
    """Return the error for a section whose plugin is not installed any more."""
    return PluginError(
        f"step '{section.step}' belongs to plugin '{section.plugin}', which is not loaded",
        hint=f"pip install banger-plugin-{section.plugin}, or banger vm delete --force {vm}",
        plugin=section.plugin,
        step=section.step,
    )


def quiesce_steps(steps: Steps, handles: Handles, undo_for: UndoFactory) -> None:
    """Run what wants to run before power-off, in reverse order; failures and slowness are logged only."""
    for section in reversed(handles.sections):
        owned = steps.get(section.step)
        if not section.live or owned is None or owned.value.quiesce is None:
            continue
        thread = threading.Thread(target=_quiesce, args=(owned.value, undo_for(section)), daemon=True)
        thread.start()
        thread.join(QUIESCE_SECONDS)
        if thread.is_alive():
            log.warning(
                "quiesce of step %s takes longer than %.0f s; going on", section.step, QUIESCE_SECONDS
            )


def _quiesce(step: StartStep, ctx: UndoContext) -> None:
    try:
        if step.quiesce is not None:
            step.quiesce(ctx)
    except (Exception, SystemExit):
        log.exception("quiesce of step %s failed", step.name)
