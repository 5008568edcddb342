"""The seam to cgroupfs, version 2 (cgroups(7), Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

#: Bytes of a file that are read: ids of processes, at most.
_LIMIT = 1 << 20


class Tree(Protocol):
    """Control groups, as directories with files. Every method raises OSError as the kernel does."""

    def own(self) -> Path | None:
        """Return the directory of this process's group; None where the host has no cgroup version 2."""

    def is_delegated(self, group: Path) -> bool:
        """Tell whether a group and all below is this user's to divide: whoever manages the rest leaves it alone."""

    def read(self, group: Path, name: str) -> str:
        """Return a file of a group."""

    def write(self, group: Path, name: str, text: str) -> None:
        """Write a file of a group, in one call."""

    def make(self, group: Path) -> None:
        """Make a group, if it is not there."""

    def remove(self, group: Path) -> None:
        """Remove a group without processes; nothing happens when it is not there."""

    def children(self, group: Path) -> list[Path]:
        """Return the groups directly below, by name."""


class HostTree:
    """:class:`Tree` on the real host."""

    def __init__(self, mount: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> None:
        self._mount, self._proc = mount, proc

    def own(self) -> Path | None:
        if not (self._mount / "cgroup.controllers").is_file():
            return None  # version 1, or none
        for line in (self._proc / "self" / "cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                return self._mount / line.removeprefix("0::/")
        return None

    def is_delegated(self, group: Path) -> bool:
        # systemd says so in an attribute, which others may not set (CGROUP_DELEGATION.md); a group of this user's own
        # below one of root's is as good.
        for name in ("trusted.delegate", "user.delegate"):
            try:
                if os.getxattr(group, name) == b"1":
                    return os.access(group / "cgroup.subtree_control", os.W_OK)
            except OSError:
                continue
        return os.geteuid() != 0 and group.stat().st_uid == os.geteuid()

    def read(self, group: Path, name: str) -> str:
        with open(group / name, encoding="ascii") as file:
            return file.read(_LIMIT)

    def write(self, group: Path, name: str, text: str) -> None:
        descriptor = os.open(group / name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode("ascii"))
        finally:
            os.close(descriptor)

    def make(self, group: Path) -> None:
        group.mkdir(exist_ok=True)

    def remove(self, group: Path) -> None:
        try:
            group.rmdir()
        except FileNotFoundError:
            return

    def children(self, group: Path) -> list[Path]:
        return sorted(path for path in group.iterdir() if path.is_dir())
