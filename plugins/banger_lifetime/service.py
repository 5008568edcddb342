"""The service: looks every few seconds, stops what is not used, deletes what has lasted long enough."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Set as AbstractSet
from pathlib import Path

from banger.api import BangerError, ServiceContext, Vm, VmState
from banger_lifetime.ledger import Entry, Ledger, boot_id
from banger_lifetime.options import Options, format_time
from banger_lifetime.traffic import busy_addresses

log = logging.getLogger(__name__)

#: Seconds between two looks, and between two times the accounts are written down.
_LOOK, _SAVE = 5.0, 60.0
#: Seconds after which what failed is tried again.
_AGAIN = 60.0


async def serve(ctx: ServiceContext) -> None:
    """Watch until cancelled."""
    keeper = Keeper(ctx, Ledger(ctx.directory / "lifetimes.json", boot_id()))
    try:
        while True:
            try:
                busy = await asyncio.to_thread(busy_addresses)  # a long table on a host with many connections
                keeper.look(time.clock_gettime(time.CLOCK_BOOTTIME), busy)
            except BangerError as error:
                log.warning("VMs' lifetimes were not looked at: %s", error)
            await asyncio.sleep(_LOOK)
    finally:
        keeper.close()


class Keeper:
    """What is to be done with which VM now. Lives on the daemon's loop."""

    def __init__(self, ctx: ServiceContext, ledger: Ledger) -> None:
        self._ctx, self._ledger = ctx, ledger
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}
        self._saved = 0.0

    def look(self, now: float, busy: AbstractSet[str] = frozenset()) -> None:
        """Look at every VM that has a lifetime.

        :param now: CLOCK_BOOTTIME. :param busy: the addresses that have connections.
        """
        every = self._ctx.records()
        vms = [vm for vm in every if "lifetime" in vm.spec.capabilities]
        forgotten = self._ledger.keep({vm.id for vm in vms})
        for vm in every:
            if vm.id in forgotten:
                _write(self._label(vm), "")
        for vm in vms:
            options = Options.model_validate(vm.spec.capabilities["lifetime"])
            used = self._ctx.last_used(vm)
            entry = self._ledger.advance(vm, now, ttl=options.ttl, used=used, busy=vm.address in busy)
            if vm.id not in self._tasks:  # nothing is written into a directory that is being removed
                self._say(vm, options, entry, now)
            self._act(vm, options, entry, now)
        if vms and now - self._saved >= _SAVE:
            self.save(now)
        self._ctx.report(f"{len(vms)} VMs have a lifetime")

    def _act(self, vm: Vm, options: Options, entry: Entry, now: float) -> None:
        if vm.id in self._tasks or now < self._not_before.get(vm.id, 0.0):
            return
        if options.ttl is not None and entry.spent >= options.ttl:
            self._begin(vm, "vm.delete", f"it was to last {format_time(options.ttl)}", now)
            return
        idle = now - entry.idle_since
        if options.auto_stop is not None and vm.state is VmState.RUNNING and idle >= options.auto_stop:
            self._begin(vm, "vm.stop", f"nobody used it for {format_time(options.auto_stop)}", now)

    def _begin(self, vm: Vm, operation: str, why: str, now: float) -> None:
        log.info("%s of %s: %s", operation, vm.name, why)
        self._not_before[vm.id] = now + _AGAIN
        self._tasks[vm.id] = asyncio.create_task(self._do(vm, operation))

    async def _do(self, vm: Vm, operation: str) -> None:
        try:
            await self._ctx.call(operation, {"vm": vm.id})
        except BangerError as error:
            log.warning("%s of %s: %s", operation, vm.name, error)
        finally:
            del self._tasks[vm.id]

    def _say(self, vm: Vm, options: Options, entry: Entry, now: float) -> None:
        """Write what becomes of a VM and when into its labels, for ``vm list`` and ``vm show``."""
        words = []
        if options.auto_stop is not None and vm.state is VmState.RUNNING:
            left = options.auto_stop - (now - entry.idle_since)
            words.append(f"stops in {_about(left)} unless used")
        if options.ttl is not None:
            words.append(f"deleted in {_about(options.ttl - entry.spent)}")
        _write(self._label(vm), ", ".join(words))

    def _label(self, vm: Vm) -> Path:
        return self._ctx.directory_of(vm) / "labels" / "lifetime"

    def save(self, now: float) -> None:
        """Write the accounts down."""
        self._saved = now
        try:
            self._ledger.save()
        except OSError as error:
            log.warning("VMs' lifetimes were not written down: %s", error)

    def close(self) -> None:
        """Write the accounts down and let go of what is under way; operations end with the daemon."""
        self.save(0.0)
        for task in self._tasks.values():
            task.cancel()


def _about(seconds: float) -> str:
    """Return a time in whole minutes, rounded up; the last minute as ``1m``."""
    return format_time(max(1, -(-seconds // 60)) * 60)


def _write(file: Path, text: str) -> None:
    """Write a label where it changed; a VM that has no directory yet, or none any more, has none."""
    try:
        if text:
            if not file.exists() or file.read_text() != text:
                file.parent.mkdir(mode=0o700, exist_ok=True)
                new = file.with_name(".lifetime")
                new.write_text(text)
                new.replace(file)
        else:
            file.unlink(missing_ok=True)
    except OSError:
        return
