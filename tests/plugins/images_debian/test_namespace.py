from __future__ import annotations

import os
from pathlib import Path

import pytest

from banger.errors import HostError
from banger.testing.contracts import RecordedProgress
from banger.testing.fakes import FakeCommands
from banger_images_debian.namespace import (
    Namespace,
    available_memory,
    explain_refusal,
    find_namespace,
    make_work_directory,
)

MAPPED = Namespace(("unshare",), can_mount=False, mapped=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("etc", "proc/sys/kernel", "proc/sys/user", "proc/self"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("subuid", "subgid"):
        (tmp_path / "etc" / name).write_text("other:100000:65536\nann:165536:65536\n")
    return tmp_path


def test_missing_sub_ids_name_the_line(root: Path) -> None:
    error = explain_refusal("unshare: failed", "bob", root)
    assert "bob has no subordinate ids" in str(error)
    assert error.hint == "sudo usermod --add-subuids 231072-296607 --add-subgids 231072-296607 bob"
    (root / "etc/subgid").unlink()
    assert "ann has no subordinate ids" in str(explain_refusal("unshare: failed", "ann", root))


@pytest.mark.parametrize(
    ("switch", "value", "line"),
    [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ],
)
def test_closed_switch_names_the_line(root: Path, switch: str, value: str, line: str) -> None:
    (root / "proc/sys" / switch).write_text(f"{value}\n")
    error = explain_refusal("unshare: unshare failed: Operation not permitted", "ann", root)
    assert error.hint == f"sudo sysctl -w {line}"


def test_other_refusals(root: Path) -> None:
    assert "util-linux 2.38" in str(explain_refusal("unrecognized option '--map-auto'", "ann", root).hint)
    assert "write failed" in str(explain_refusal("unshare: write failed", "ann", root))


@pytest.mark.skipif(os.geteuid() == 0, reason="root needs no uidmap")
def test_missing_uidmap_names_the_package() -> None:
    with pytest.raises(HostError, match="newuidmap is not installed") as caught:
        find_namespace(FakeCommands(programs=("unshare",)))
    assert caught.value.hint == "sudo apt install uidmap"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can do without")
def test_root_without_mounts_builds_in_place() -> None:
    commands = FakeCommands()
    commands.answer("unshare", status=1, stderr=b"unshare: unshare failed: Operation not permitted")
    assert find_namespace(commands) == Namespace((), can_mount=False, mapped=False)


def test_memory_is_bounded_by_the_control_group(root: Path) -> None:
    (root / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    assert available_memory(root) == 4000 * 1024
    (root / "proc/self/cgroup").write_text("0::/user/session\n")
    group = root / "sys/fs/cgroup/user"
    (group / "session").mkdir(parents=True)
    (group / "session/memory.max").write_text("max\n")
    (group / "session/memory.current").write_text("1000\n")
    (group / "memory.max").write_text("2000000\n")
    (group / "memory.current").write_text("500000\n")
    assert available_memory(root) == 1_500_000
    assert available_memory(root / "nowhere") == 0


def test_what_a_crash_left_is_removed_in_the_namespace(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "build-stale").mkdir(parents=True)
    commands = FakeCommands()
    ctx = RecordedProgress(tmp_path, cache, commands=commands)
    with make_work_directory(MAPPED, ctx) as (work, kind):
        assert (work.parent, kind) == (cache, "dir")
        assert commands.lines == [f"unshare rm -rf --one-file-system {cache / 'build-stale'}"]
        with make_work_directory(MAPPED, ctx) as (other, _):
            # A directory in use is left alone.
            assert not any(str(work) in line for line in commands.lines)
            assert other != work
    assert commands.lines[-1].endswith(str(work))
