"""One operation on several VMs: resolved against one list, run side by side, told in the order they were named."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from banger.cli.client import Client
from banger.cli.filter import filter_option, make_filter, parse_filters
from banger.cli.output import dim, leave_line, print_json, say
from banger.cli.vm import run_operation, show_detail
from banger.errors import BangerError, ConflictError, NotFoundError, UsageError
from banger.model.name import unknown_hint

#: States in which a VM is down.
DOWN = ("stopped", "created", "error")
#: Digits of an id that stand for it, at least (banger.daemon.lifecycle.resolve_vm).
_DIGITS = 4
#: Seconds that cancelled operations get to undo what they did.
_CANCEL_SECONDS = 30.0

F = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Meant:
    """Which VMs a command is about.

    :param every: all that it makes sense for; with ``filters`` those of them that fit.
    """

    vms: tuple[str, ...]
    every: bool = False
    filters: tuple[str, ...] = ()

    @property
    def several(self) -> bool:
        """Whether it is not names that say which."""
        return self.every or bool(self.filters)

    def check(self) -> None:
        """Raise UsageError unless there are either names or a way to find them."""
        if self.several == bool(self.vms):
            raise UsageError(
                "name VMs, or say which: --all, or --filter state=running,label=env=test",
                hint="banger vm list shows them",
            )
        parse_filters(self.filters)


def vms_argument(command: F) -> F:
    """Add ``VM…``, ``--all`` and ``--filter``; the command gets them as ``meant``."""

    @wraps(command)
    def collected(vms: tuple[str, ...], every: bool, filters: tuple[str, ...], **others: Any) -> Any:
        return command(meant=Meant(vms, every, filters), **others)

    collected = filter_option(collected)
    collected = click.option("--all", "every", is_flag=True, help="every VM this makes sense for")(collected)
    return click.argument("vms", nargs=-1, metavar="VM...")(collected)


def find_meant(
    meant: Meant, fits: Callable[[dict[str, Any]], bool], *, goes: bool = False
) -> tuple[list[dict[str, Any]], list[BangerError]]:
    """Return the VMs meant, from one list, and an error for each name that means none."""
    meant.check()
    known = Client().call("vm.list")["vms"]
    if not meant.several:
        return _resolve(meant.vms, known, goes=goes)
    chosen = make_filter(meant.filters)
    found = [vm for vm in known if fits(vm) and chosen(vm)]
    if not found:
        say("no VM to do that with")
    return found, []


def run_on(
    operation: str,
    meant: Meant,
    params: dict[str, Any],
    *,
    fits: Callable[[dict[str, Any]], bool],
    done: str,
    as_json: bool,
) -> int:
    """Call an operation for each VM; return the exit status, 1 when one of several failed.

    :param fits: which VMs ``--all`` and ``--filter`` may mean.
    :param done: what became of a VM: ``stopped``.
    """
    meant.check()
    if len(meant.vms) == 1:
        _show(run_operation(operation, {**params, "vm": meant.vms[0]}), done, as_json=as_json)
        return 0
    found, unknown = find_meant(meant, fits, goes=operation == "vm.delete")
    calls = [_Call(vm, operation, params) for vm in found]
    _run(calls)
    return _report(calls, unknown, done, as_json=as_json)


#: After these its ports are as they were: they are not said again.
_PORTS_KNOWN = ("goes on", "paused", "changed")


def _show(detail: dict[str, Any], done: str, *, as_json: bool) -> None:
    if done in _PORTS_KNOWN and not as_json:
        print(f"{detail['vm']['name']} {done}")
    else:
        show_detail(detail, as_json, done)


def _resolve(
    references: Iterable[str], known: list[dict[str, Any]], *, goes: bool = False
) -> tuple[list[dict[str, Any]], list[BangerError]]:
    """Return the VMs meant, each once, and an error for each reference that means none or several.

    :param goes: those found are to be deleted, and no hint names them.
    """
    found: dict[str, dict[str, Any]] = {}
    errors: list[BangerError] = []
    unknown: list[str] = []
    for reference in references:
        exact = [vm for vm in known if reference in (vm["name"], vm["id"])]
        close = [vm for vm in known if len(reference) >= _DIGITS and vm["id"].startswith(reference)]
        meant = exact or close
        if len(meant) == 1:
            found.setdefault(meant[0]["id"], meant[0])
        elif meant:
            names = ", ".join(str(vm["name"]) for vm in meant)
            errors.append(ConflictError(f"'{reference}' means more than one VM", hint=f"they are: {names}"))
        else:
            unknown.append(reference)
    names_left = [vm["name"] for vm in known if not (goes and vm["id"] in found)]
    for reference in unknown:
        hint = unknown_hint(reference, names_left, "see: banger vm list")
        errors.append(NotFoundError(f"there is no VM '{reference[:80]}'", hint=hint))
    return list(found.values()), errors


class _Call(threading.Thread):
    """One VM's operation, under way."""

    def __init__(self, vm: dict[str, Any], operation: str, params: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.vm = vm
        self.op_id: str | None = None
        self.detail: dict[str, Any] | None = None
        self.error: BangerError | None = None
        self._operation, self._params = operation, params

    def run(self) -> None:
        try:
            params = {**self._params, "vm": self.vm["id"]}
            self.detail = Client().call(self._operation, params, on_event=self._take)
        except BangerError as error:
            self.error = error
        except Exception as error:
            self.error = BangerError(f"internal error: {type(error).__name__}: {error}")

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("event") == "operation":
            self.op_id = event.get("op_id")
        elif event.get("event") == "notice":
            say(f"note: {event.get('text')}")


def _run(calls: list[_Call]) -> None:
    for call in calls:
        call.start()
    try:
        for call in calls:
            call.join()
    except KeyboardInterrupt:
        client = Client()
        leave_line()
        say("cancelling, one moment")
        for call in calls:
            if call.is_alive() and call.op_id is not None:
                with contextlib.suppress(BangerError):
                    client.call("op.cancel", {"op_id": call.op_id})
        deadline = time.monotonic() + _CANCEL_SECONDS
        for call in calls:
            call.join(max(0.0, deadline - time.monotonic()))
        raise


def _report(calls: list[_Call], unknown: list[BangerError], done: str, *, as_json: bool) -> int:
    from banger.cli.main import show_error

    if as_json:
        print_json([call.detail for call in calls if call.detail is not None])
    for call in calls:
        if call.error is not None:
            say(dim(f"{call.vm['name']}:"))
            show_error(call.error)
        elif call.detail is not None and not as_json:
            _show(call.detail, done, as_json=False)
    for error in unknown:
        show_error(error)
    return 1 if unknown or any(call.error for call in calls) else 0
