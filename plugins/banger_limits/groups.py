"""The groups of VMs, below the one that the daemon was given.

``<the daemon's>/bangerd`` has the daemon itself and whatever else was there: a group whose children have controllers
may have no processes of its own. ``<the daemon's>/vm-<8 digits>`` has a VM's VMM.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from banger_limits.tree import Tree

#: The daemon's own group, and what groups of VMs begin with.
_LEAF, _PREFIX = "bangerd", "vm-"
#: Files that bound something, with what controls it.
_FILES = {"memory.max": "memory", "cpu.max": "cpu", "pids.max": "pids"}
#: Microseconds in which ``cpu.max`` is counted: the kernel's default.
_PERIOD = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a VM's VMM may take: bytes of memory, processors, threads."""

    memory: int
    processors: int
    threads: int

    def files(self) -> dict[str, str]:
        """Return what the files of the group are to hold."""
        return {
            "memory.max": str(self.memory),
            "cpu.max": f"{self.processors * _PERIOD} {_PERIOD}",
            "pids.max": str(self.threads),
        }


def find_base(tree: Tree) -> tuple[Path | None, str]:
    """Return the group that VMs' groups can be made in, without changing anything; else None, and why."""
    own = tree.own()
    if own is None:
        return None, "this host has no cgroup version 2"
    base = own.parent if own.name == _LEAF else own
    try:
        if not tree.is_delegated(base):
            return None, "the daemon was given no control group of its own to divide"
        missing = set(_FILES.values()) - set(tree.read(base, "cgroup.controllers").split())
    except OSError as error:
        return None, f"its control group cannot be read: {error.strerror}"
    if missing:
        return None, f"its control group has no controller {', '.join(sorted(missing))}"
    return base, ""


def prepare(tree: Tree, base: Path) -> None:
    """Let groups below ``base`` have controllers. Idempotent. :raises OSError: the kernel refuses."""
    leaf = base / _LEAF
    tree.make(leaf)
    for _ in range(8):  # what is there may start something meanwhile
        pids = tree.read(base, "cgroup.procs").split()
        for pid in pids:
            _move(tree, leaf, pid)
        if not pids:
            break
    wanted = " ".join(f"+{name}" for name in sorted(_FILES.values()))
    tree.write(base, "cgroup.subtree_control", wanted)


def _move(tree: Tree, group: Path, pid: str) -> None:
    try:
        tree.write(group, "cgroup.procs", pid)
    except OSError as error:
        if error.errno != errno.ESRCH:  # it ended
            raise


def hold(tree: Tree, base: Path, vm_id: str, pid: int, limits: Limits) -> None:
    """Put a VMM into its VM's group, with limits. Idempotent. :raises OSError: the kernel refuses."""
    group = base / f"{_PREFIX}{vm_id[:8]}"
    tree.make(group)
    for name, text in limits.files().items():
        if tree.read(group, name).strip() != text:
            tree.write(group, name, text)
    if str(pid) not in tree.read(group, "cgroup.procs").split():
        _move(tree, group, str(pid))


def sweep(tree: Tree, base: Path, running: Mapping[str, object]) -> int:
    """Remove the groups of VMs that do not run, those whose processes are gone; return how many stay.

    :param running: ids of those that do.
    """
    kept = {f"{_PREFIX}{vm_id[:8]}" for vm_id in running}
    left = 0
    for group in tree.children(base):
        if group.name.startswith(_PREFIX) and group.name not in kept:
            try:
                tree.remove(group)
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                    raise
                left += 1
    return left


def limits_of(vcpu: int, memory_mib: int, *, emulated: bool) -> Limits:
    """Return what a VMM needs at most, generously: a limit is there for what goes wrong.

    :param emulated: QEMU's translated code takes up to 1 GiB more (accel/tcg/region.c).
    """
    own = 256 + memory_mib // 8 + (1024 if emulated else 0)
    return Limits((memory_mib + own) << 20, vcpu + 1, 64 + 8 * vcpu + (os.cpu_count() or 1))
