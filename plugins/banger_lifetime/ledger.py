"""How long each VM has been there and unused, by a clock that nobody sets.

CLOCK_BOOTTIME counts from the host's boot, also while the host sleeps, and cannot be set. So a calendar that jumps by
a year changes nothing. It begins anew with each boot: what a VM had used up before is added, and the time that the host
was off does not count.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from banger.api import Vm

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return what names this boot of the host."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


@dataclass(slots=True)
class Entry:
    """One VM's account.

    :param boot: the boot that ``at`` and ``idle_since`` belong to; seconds of CLOCK_BOOTTIME.
    :param spent: seconds of its life, or since ``ttl`` was set, until ``at``.
    :param ttl: what it was to last. :param run: which run of the VM ``idle_since`` is about.
    """

    boot: str
    at: float
    spent: float
    ttl: int | None
    idle_since: float
    run: str
    touched: str


class Ledger:
    """The accounts of all VMs that have a lifetime, in a file that survives the daemon."""

    def __init__(self, path: Path, boot: str) -> None:
        self._path, self._boot = path, boot
        self._entries = self._read()

    def _read(self) -> dict[str, Entry]:
        try:
            return {vm_id: Entry(**entry) for vm_id, entry in json.loads(self._path.read_bytes()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # time begins anew: a VM lasts longer, never shorter

    def save(self) -> None:
        """Write it down; the file is whole at any time."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({vm_id: asdict(entry) for vm_id, entry in self._entries.items()}))
        os.replace(new, self._path)

    def keep(self, vm_ids: set[str]) -> set[str]:
        """Forget VMs that are gone, or have no lifetime any more, and return their ids."""
        forgotten = set(self._entries) - vm_ids
        self._entries = {vm_id: entry for vm_id, entry in self._entries.items() if vm_id in vm_ids}
        return forgotten

    def advance(self, vm: Vm, now: float, *, ttl: int | None, used: float | None, busy: bool) -> Entry:
        """Bring a VM's account up to date and return it.

        :param now: CLOCK_BOOTTIME.
        :param ttl: what it is to last; counted anew when it changes.
        :param used: when it was last used, by the same clock, as far as the daemon knows.
        :param busy: whether it is in use now.
        """
        run, touched = str(vm.started_at), str(vm.touched_at)
        entry = self._entries.get(vm.id)
        if entry is None:
            entry = self._entries[vm.id] = Entry(self._boot, now, 0.0, ttl, now, run, touched)
        if entry.boot != self._boot or now < entry.at:
            entry.boot, entry.at, entry.idle_since = self._boot, now, now
        entry.spent, entry.at = entry.spent + now - entry.at, now
        if ttl != entry.ttl:
            entry.spent, entry.ttl = 0.0, ttl
        if busy or run != entry.run or touched != entry.touched:
            entry.idle_since = now
        elif used is not None:
            entry.idle_since = max(entry.idle_since, min(used, now))
        entry.run, entry.touched = run, touched
        return entry
