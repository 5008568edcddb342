"""The host's TSC frequency, measured: what a guest under software emulation must be told.

``-M microvm`` has no timer to calibrate the TSC against, so about one boot in ten hangs for ever unless the kernel is
given ``tsc_early_khz``; and a wrong value makes the guest's clock run at the wrong speed. ``cpu MHz`` in cpuinfo is
the momentary clock on laptops, so it is measured.

It is called reliable too (``tsc=reliable``). The kernel would otherwise check it against the only other clock there is,
its own tick; on a busy host ticks get lost, the TSC is the one that is thrown out, and the guest's clock runs slow for
good.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import time

from banger.api import processor_flags

#: rdtsc; shl rdx, 32; or rax, rdx; ret
_RDTSC = bytes.fromhex("0f3148c1e2204809d0c3")
#: Seconds to measure over: the clocks' granularity is a millionth of it.
_SPAN = 0.05
#: kHz that any x86_64 machine's TSC lies between.
_PLAUSIBLE = range(500_000, 10_000_000)


@functools.cache
def measure_tsc_khz() -> int | None:
    """Return the TSC's frequency in kHz, or None where it is not constant or cannot be measured."""
    if not {"constant_tsc", "nonstop_tsc"} <= processor_flags():
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except (OSError, PermissionError):
        return None
    page.write(_RDTSC)
    buffer = ctypes.c_char.from_buffer(page)
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(buffer))
    khz = _measure(read)
    del read, buffer
    return khz if khz in _PLAUSIBLE else None


def _measure(read: ctypes._FuncPointer) -> int:
    """Return kHz; the tightest of several readings at each end, so that being preempted does not spoil it."""
    first = min((_read_both(read) for _ in range(5)), key=lambda sample: sample[2])
    time.sleep(_SPAN)
    last = min((_read_both(read) for _ in range(5)), key=lambda sample: sample[2])
    return round((last[0] - first[0]) * 1_000_000 / (last[1] - first[1]))


def _read_both(read: ctypes._FuncPointer) -> tuple[int, int, int]:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    ticks = int(read())
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    return ticks, (before + after) // 2, after - before
