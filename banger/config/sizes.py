"""Sizes a VM gets when nobody says: a share of the host, with where it came from."""

from __future__ import annotations

import os

from banger.config.settings import Defaults

#: Shares and caps of the host that a VM gets by default, and the least that a distribution boots well in.
_CPU_SHARE, _CPU_CAP = 4, 4
_MEMORY_SHARE, _MEMORY_CAP_MIB, _MEMORY_FLOOR_MIB = 8, 8192, 1024


def host_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def host_memory_mib() -> int:
    """Return the host's memory in MiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1024 * 1024)


def available_memory_mib() -> int:
    """Return the memory in MiB that this host can give now without swapping, as its kernel estimates (proc(5))."""
    with open("/proc/meminfo", encoding="ascii") as file:
        table = {line.partition(":")[0]: int(line.split()[1]) // 1024 for line in file}
    return table.get("MemAvailable", table["MemFree"])


def default_vcpu(defaults: Defaults) -> int:
    """Return the processors of a new VM: configured, else a quarter of the host's, 1 to 4."""
    return defaults.vcpu or max(1, min(_CPU_CAP, host_cpus() // _CPU_SHARE))


def default_memory_mib(defaults: Defaults) -> int:
    """Return the memory of a new VM in MiB: configured, else an eighth of the host's, 1 to 8 GiB, whole 256 MiB."""
    share = host_memory_mib() // _MEMORY_SHARE
    return defaults.memory or max(_MEMORY_FLOOR_MIB, min(_MEMORY_CAP_MIB, share)) // 256 * 256
