"""What a process of this host uses, from proc(5)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
#: Lines of a process's memory map that are looked at.
_MAP_LINES = 100_000


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """``cpu_seconds`` since its start; ``resident_kib`` of memory, of which ``guest_kib`` is the guest's own."""

    cpu_seconds: float
    resident_kib: int
    guest_kib: int | None


def read_process(pid: int, guest_memory_kib: int) -> ProcessUse | None:
    """Return what a VMM's process uses, or None when it is gone."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return ProcessUse(
            cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
            resident_kib=int(fields[21]) * _PAGE_KIB,
            guest_kib=_guest_memory(pid, guest_memory_kib),
        )
    except (OSError, IndexError):
        return None


def _guest_memory(pid: int, guest_memory_kib: int) -> int | None:
    """Return how much of the guest's memory is resident: its mapping is the one that is at least that large."""
    size = 0
    try:
        with open(_PROC / str(pid) / "smaps", encoding="ascii", errors="replace") as file:
            for _, line in zip(range(_MAP_LINES), file, strict=False):
                if line.startswith("Size:"):
                    size = int(line.split()[1])
                elif line.startswith("Rss:") and size >= guest_memory_kib:
                    return int(line.split()[1])
    except OSError:
        return None
    return None


def allocated_bytes(directory: Path) -> int:
    """Return how many bytes of the host's disk the files of a directory take; holes take none."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return total
