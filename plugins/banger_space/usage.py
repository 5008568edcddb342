"""``system.df``: what is where, and how much of this host it takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from banger.api import Operation, OperationContext, VmState, allocated_bytes


class Nothing(BaseModel):
    """No parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(BaseModel):
    """One VM, image, kernel or cache.

    ``bytes``: what its files take on the host's disk, holes left out. ``limit_bytes``: what they may grow to.
    ``reclaimable``: nothing needs it now: a VM that does not run, an image or kernel that no VM has, a cache.
    """

    kind: Literal["vm", "image", "kernel", "cache"]
    name: str
    bytes: int
    limit_bytes: int | None = None
    reclaimable: bool
    state: str | None = None


class Disk(BaseModel):
    """The host's file system that the parts are on."""

    path: str
    size_bytes: int
    free_bytes: int


class Memory(BaseModel):
    """The host's memory, and what of it was promised to VMs that run."""

    size_bytes: int
    available_bytes: int
    promised_bytes: int


class Usage(BaseModel):
    """What takes room: VMs oldest first, then images, kernels and caches by name."""

    parts: tuple[Part, ...]
    disk: Disk
    memory: Memory


def df(op: OperationContext, _: Nothing) -> Usage:
    """Measure what takes room."""
    paths, database = op.services.paths, op.services.database
    vms, images, kernels = op.vms(), database.images(), database.kernels()
    parts = []
    for vm in vms:
        limit = (vm.spec.disk_mib + vm.spec.overlay_mib) << 20
        down = vm.state in (VmState.STOPPED, VmState.ERROR)
        taken = _taken(op.vm_directory(vm))
        parts.append(
            Part(kind="vm", name=vm.name, bytes=taken, limit_bytes=limit, reclaimable=down, state=vm.state)
        )
    needed = {vm.image for vm in vms} | {vm.kernel for vm in vms}
    for image in images:
        taken, free = _taken(op.image_directory(image)), image.digest not in needed
        parts.append(Part(kind="image", name=image.name, bytes=taken, reclaimable=free))
    for kernel in kernels:
        taken, free = _taken(op.kernel_directory(kernel)), kernel.digest not in needed
        parts.append(Part(kind="kernel", name=kernel.name, bytes=taken, reclaimable=free))
    for folder in sorted(path for path in paths.cache.glob("*") if path.is_dir()):
        parts.append(Part(kind="cache", name=folder.name, bytes=_taken(folder), reclaimable=True))
    room = os.statvfs(paths.state)
    disk = Disk(
        path=str(paths.state),
        size_bytes=room.f_blocks * room.f_frsize,
        free_bytes=room.f_bavail * room.f_frsize,
    )
    promised = sum(vm.present_spec.memory_mib << 20 for vm in vms if vm.state is VmState.RUNNING)
    size, available = _memory()
    memory = Memory(size_bytes=size, available_bytes=available, promised_bytes=promised)
    return Usage(parts=tuple(parts), disk=disk, memory=memory)


def _taken(path: Path) -> int:
    try:
        return allocated_bytes(path)
    except FileNotFoundError:
        return 0


def _memory() -> tuple[int, int]:
    """Return the bytes of memory that this host has, and that are available (proc_meminfo(5))."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    table = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return table["MemTotal"], table.get("MemAvailable", table["MemFree"])


DF = Operation("system.df", "what takes room on this host", Nothing, Usage, df)
