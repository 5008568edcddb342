"""``vm.stats``: what VMs use, as the host sees it and as the guests say."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from banger.api import BangerError, Operation, OperationContext, Vm, VmState
from banger_stats.process import ProcessUse, allocated_bytes, read_process

#: Seconds that a guest gets to answer; one that does not is shown without its own figures.
_ASK_SECONDS = 3.0
#: Guests that are asked at the same time.
_AT_ONCE = 16


class StatsParams(BaseModel):
    """``vms``: none means every running one; ``seconds``: the time over which processor use is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vms: tuple[str, ...] = Field(default=(), max_length=1000)
    seconds: float = Field(default=0.5, ge=0.05, le=10)


class VmUse(BaseModel):
    """What one VM uses. Percentages are of one processor; None where nobody says.

    ``cpu_percent``: the VMM's process on the host; ``guest_cpu_percent``: busy time that the guest counts.
    ``resident_kib``: memory of the VMM's process on the host; ``overhead_kib``: what of it is not the guest's memory.
    ``balloon_kib``: memory that the guest gave back, of what it was started with.
    ``disk_bytes``: what the VM's own files take on the host. ``rx_bytes``, ``tx_bytes``: since the guest's boot.
    """

    vm: str
    vcpu: int
    cpu_percent: float | None = None
    guest_cpu_percent: float | None = None
    load: float | None = None
    memory_total_kib: int | None = None
    memory_used_kib: int | None = None
    resident_kib: int | None = None
    overhead_kib: int | None = None
    balloon_kib: int | None = None
    disk_bytes: int = 0
    root_size_kib: int | None = None
    root_free_kib: int | None = None
    rx_bytes: int | None = None
    tx_bytes: int | None = None
    uptime_seconds: float | None = None


class StatsResult(BaseModel):
    """The running VMs that were asked for, in that order."""

    vms: tuple[VmUse, ...]


async def stats(op: OperationContext, params: StatsParams) -> StatsResult:
    """Measure what VMs use."""
    if params.vms:
        chosen = list({vm.id: vm for vm in map(op.vm, params.vms)}.values())
        for vm in chosen:
            op.check_runs(vm)
    else:
        chosen = [vm for vm in op.vms() if vm.state is VmState.RUNNING]
    room = asyncio.Semaphore(_AT_ONCE)

    async def measure(vm: Vm) -> VmUse:
        async with room:
            return await _measure(op, vm, params.seconds)

    return StatsResult(vms=tuple(await asyncio.gather(*map(measure, chosen))))


async def _measure(op: OperationContext, vm: Vm, seconds: float) -> VmUse:
    memory_mib = await asyncio.to_thread(op.guest_memory, vm)
    started_mib = memory_mib[0] if memory_mib is not None else vm.present_spec.memory_mib
    before, began = await _sample(op, vm, started_mib), time.monotonic()
    await asyncio.sleep(seconds)
    after, passed = await _sample(op, vm, started_mib), time.monotonic() - began
    disk = await asyncio.to_thread(allocated_bytes, op.vm_directory(vm))
    memory, root, network = (_table(after[1], key) for key in ("memory", "root", "network"))
    total, available = _whole(memory, "total_kib"), _whole(memory, "available_kib")
    uptime = _whole(after[1], "uptime_ms")
    return VmUse(
        vm=vm.name,
        vcpu=vm.spec.vcpu,
        guest_cpu_percent=_guest_percent(before[1], after[1], vm.spec.vcpu),
        load=_load(after[1]),
        memory_total_kib=total,
        memory_used_kib=max(0, total - available) if total is not None and available is not None else None,
        balloon_kib=(memory_mib[0] - memory_mib[1]) * 1024 if memory_mib is not None else None,
        disk_bytes=disk,
        root_size_kib=_whole(root, "size_kib"),
        root_free_kib=_whole(root, "free_kib"),
        rx_bytes=_whole(network, "rx_bytes"),
        tx_bytes=_whole(network, "tx_bytes"),
        uptime_seconds=None if uptime is None else uptime / 1000,
        **_host_figures(before[0], after[0], passed),
    )


async def _sample(op: OperationContext, vm: Vm, memory_mib: int) -> tuple[ProcessUse | None, dict[str, Any]]:
    pid = (await asyncio.to_thread(op.detail, vm)).pid
    process = await asyncio.to_thread(read_process, pid, memory_mib * 1024) if pid else None
    try:
        return process, await op.ask_guest(vm, "stats", _ASK_SECONDS)
    except BangerError:
        return process, {}


def _host_figures(before: ProcessUse | None, after: ProcessUse | None, passed: float) -> dict[str, Any]:
    if before is None or after is None:
        return {}
    overhead = None if after.guest_kib is None else max(0, after.resident_kib - after.guest_kib)
    return {
        "cpu_percent": round(max(0.0, after.cpu_seconds - before.cpu_seconds) / passed * 100, 1),
        "resident_kib": after.resident_kib,
        "overhead_kib": overhead,
    }


def _guest_percent(before: dict[str, Any], after: dict[str, Any], vcpu: int) -> float | None:
    first, last = _table(before, "cpu"), _table(after, "cpu")
    ticks = [_whole(table, key) for table in (first, last) for key in ("busy_ticks", "idle_ticks")]
    if None in ticks:
        return None
    busy, idle = (max(0, (ticks[2 + n] or 0) - (ticks[n] or 0)) for n in range(2))
    return round(100 * vcpu * busy / (busy + idle), 1) if busy + idle else 0.0


def _load(said: dict[str, Any]) -> float | None:
    load = said.get("load")
    first = load[0] if isinstance(load, list) and load else None
    return float(first) if isinstance(first, int | float) and 0 <= first < 1e6 else None


def _table(said: dict[str, Any], key: str) -> dict[str, Any]:
    value = said.get(key)
    return value if isinstance(value, dict) else {}


def _whole(said: dict[str, Any], key: str) -> int | None:
    value = said.get(key)
    return value if type(value) is int and 0 <= value < 2**53 else None


STATS = Operation("vm.stats", "what VMs use", StatsParams, StatsResult, stats)
