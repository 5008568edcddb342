"""Control groups on paper, which refuse what the kernel refuses; and the real seam, as far as a directory goes."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from banger.model.check import CheckStatus
from banger.model.vm import VmState
from banger.testing.samples import sample_vm
from banger_limits import check, service
from banger_limits.groups import Limits, find_base, hold, limits_of, prepare, sweep
from banger_limits.tree import HostTree

ROOT = Path("/sys/fs/cgroup")
BASE = ROOT / "user.slice" / "run-1.scope"
DAEMON, VMM, OTHER = 100, 200, 300
LIMITS = Limits(512 << 20, 2, 90)


class PaperTree:
    """A cgroupfs: groups have processes and files, and a group whose children have controllers has no processes."""

    def __init__(self, *, delegated: bool = True, controllers: str = "cpu io memory pids") -> None:
        self.members: dict[Path, set[int]] = {BASE: {DAEMON, OTHER}}
        self.files: dict[tuple[Path, str], str] = {(BASE, "cgroup.controllers"): controllers}
        self.enabled: dict[Path, set[str]] = {BASE: set()}
        self.alive = {DAEMON, VMM, OTHER}
        self._delegated = delegated

    def own(self) -> Path | None:
        return next(group for group, pids in self.members.items() if DAEMON in pids)

    def is_delegated(self, group: Path) -> bool:
        return self._delegated and group == BASE

    def read(self, group: Path, name: str) -> str:
        if name == "cgroup.procs":
            return "".join(f"{pid}\n" for pid in sorted(self.members[group]))
        return self.files.get((group, name), "max\n")

    def write(self, group: Path, name: str, text: str) -> None:
        if name == "cgroup.subtree_control":
            if self.members[group]:
                raise OSError(errno.EBUSY, "Device or resource busy")
            self.enabled[group] |= {word.removeprefix("+") for word in text.split()}
        elif name == "cgroup.procs":
            self._join(group, int(text))
        elif name.partition(".")[0] not in self.enabled[group.parent]:
            raise OSError(errno.ENOENT, "No such file or directory")
        else:
            self.files[group, name] = f"{text}\n"

    def _join(self, group: Path, pid: int) -> None:
        if pid not in self.alive:
            raise OSError(errno.ESRCH, "No such process")
        if self.enabled[group]:
            raise OSError(errno.EBUSY, "Device or resource busy")
        for pids in self.members.values():
            pids.discard(pid)
        self.members[group].add(pid)

    def make(self, group: Path) -> None:
        assert group.parent in self.members
        self.members.setdefault(group, set())
        self.enabled.setdefault(group, set())

    def remove(self, group: Path) -> None:
        if self.members.get(group):
            raise OSError(errno.EBUSY, "Device or resource busy")
        self.members.pop(group, None)

    def children(self, group: Path) -> list[Path]:
        return sorted(path for path in self.members if path.parent == group)


def test_a_vm_has_a_group_with_limits_and_none_is_left() -> None:
    tree = PaperTree()
    assert find_base(tree) == (BASE, "")
    prepare(tree, BASE)
    assert (tree.members[BASE], tree.members[BASE / "bangerd"]) == (set(), {DAEMON, OTHER})
    assert find_base(tree) == (BASE, "")  # from where the daemon is now
    for _ in range(2):
        hold(tree, BASE, "0123abcd" * 4, VMM, LIMITS)
    group = BASE / "vm-0123abcd"
    assert tree.members[group] == {VMM}
    assert [tree.files[group, name] for name in ("memory.max", "cpu.max", "pids.max")] == [
        "536870912\n",
        "200000 100000\n",
        "90\n",
    ]
    assert sweep(tree, BASE, {"0123abcd" * 4: None}) == 0 and group in tree.members
    assert sweep(tree, BASE, {}) == 1 and group in tree.members  # its process is not gone yet
    tree.members[group].clear()
    assert sweep(tree, BASE, {}) == 0
    assert set(tree.members) == {BASE, BASE / "bangerd"}


def test_a_process_that_ends_meanwhile_is_no_trouble() -> None:
    tree = PaperTree()
    tree.alive.discard(OTHER)
    tree.members[BASE] = {DAEMON}
    prepare(tree, BASE)
    tree.alive.discard(VMM)
    hold(tree, BASE, "0123abcd" * 4, VMM, LIMITS)
    assert tree.members[BASE / "vm-0123abcd"] == set()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"delegated": False}, "the daemon was given no control group of its own to divide"),
        ({"controllers": "cpu pids"}, "its control group has no controller memory"),
    ],
)
def test_where_there_can_be_none(options: dict[str, Any], why: str) -> None:
    tree = PaperTree(**options)
    assert find_base(tree) == (None, why)
    assert tree.members == {BASE: {DAEMON, OTHER}}


def test_limits_are_generous() -> None:
    kvm, emulated = limits_of(2, 2048, emulated=False), limits_of(2, 2048, emulated=True)
    assert (kvm.memory >> 20, emulated.memory >> 20) == (2048 + 256 + 256, 2048 + 256 + 256 + 1024)
    assert kvm.processors == 3 and kvm.threads > 64


class Context:
    """What the service sees of a daemon."""

    def __init__(self, **states: VmState) -> None:
        self.vms = [sample_vm(name, state=state) for name, state in states.items()]
        self.reported = ""

    def records(self) -> list[Any]:
        return self.vms

    async def call(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        assert operation == "vm.show"
        return {"pid": VMM, "accelerator": "kvm"}

    def report(self, detail: str) -> None:
        self.reported = detail


async def test_the_service_follows_the_vms() -> None:
    tree, ctx = PaperTree(), Context(web=VmState.RUNNING, db=VmState.STOPPED)
    context: Any = ctx
    assert not await service.look(context, tree)
    [group] = [path for path in tree.members if path.name.startswith("vm-")]
    assert tree.members[group] == {VMM} and group.name == f"vm-{ctx.vms[0].id[:8]}"
    assert ctx.reported == f"1 VMs have limits in {BASE}"
    ctx.vms[0] = ctx.vms[0].model_copy(update={"state": VmState.STOPPED})
    assert await service.look(context, tree)
    tree.members[group].clear()
    assert not await service.look(context, tree)
    assert group not in tree.members


async def test_nothing_is_touched_while_no_vm_runs() -> None:
    tree, context = PaperTree(), Context(db=VmState.STOPPED)
    anything: Any = context
    await service.look(anything, tree)
    assert tree.members == {BASE: {DAEMON, OTHER}}


def test_doctor_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: Any = SimpleNamespace()
    monkeypatch.setattr(check, "HostTree", lambda: PaperTree(delegated=False))
    found = check.check_limits(commands)
    assert found.status is CheckStatus.PASS and "no control group of its own" in found.detail
    monkeypatch.setattr(check, "HostTree", PaperTree)
    assert check.check_limits(commands).detail == f"each VM has a control group of its own, in {BASE}"


def test_the_real_seam(tmp_path: Path) -> None:
    mount, proc = tmp_path / "cgroup", tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    mount.mkdir()
    tree = HostTree(mount, proc)
    assert tree.own() is None  # version 1
    (mount / "cgroup.controllers").write_text("cpu memory pids\n")
    (proc / "self" / "cgroup").write_text("1:name=systemd:/\n0::/a.scope\n")
    group = mount / "a.scope"
    assert tree.own() == group
    tree.make(group)
    tree.make(group)
    (group / "memory.max").write_text("max\n")
    tree.write(group, "memory.max", "1")
    assert tree.read(group, "memory.max").startswith("1")
    (group / "memory.max").unlink()
    with pytest.raises(
        FileNotFoundError
    ):  # no controller: the kernel makes no file, and neither does a write
        tree.write(group, "memory.max", "1")
    assert tree.children(mount) == [group]
    if os.geteuid() != 0:
        assert tree.is_delegated(group)
    tree.remove(group)
    tree.remove(group)
    assert tree.children(mount) == []
