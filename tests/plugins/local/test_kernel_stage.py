from __future__ import annotations

from pathlib import Path

import pytest

from banger.errors import KernelError
from banger.host.command import HostCommands
from banger.testing.fakes import FakeCommands
from banger_local.kernel_stage import stage_kernel
from tests.plugins.local.paper_kernel import RELEASE, write_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    (tmp_path / "staging").mkdir()
    return tmp_path / "staging"


def test_kernel_initrd_and_modules_are_copied_without_links(tree: Path, staging: Path) -> None:
    pulled = stage_kernel(
        HostCommands(),
        staging,
        tree / f"boot/vmlinuz-{RELEASE}",
        initrd=tree / f"boot/initramfs-{RELEASE}.img",
        modules=tree / "lib/modules" / RELEASE,
        arch="x86_64",
    )
    assert pulled.release == RELEASE and pulled.modules is not None and pulled.initrd is not None
    assert pulled.initrd.read_bytes() == b"cpio"
    there = sorted(str(path.relative_to(pulled.modules)) for path in pulled.modules.rglob("*"))
    assert there == ["kernel", "kernel/virtio.ko.xz", "modules.builtin", "modules.dep"]


def test_modules_that_nobody_indexed_are_indexed(tree: Path, staging: Path) -> None:
    modules = tree / "lib/modules" / RELEASE
    (modules / "modules.dep").unlink()
    commands = FakeCommands()
    stage_kernel(commands, staging, tree / f"boot/vmlinuz-{RELEASE}", modules=modules, arch="x86_64")
    assert commands.lines == [f"depmod -b {staging}/modules-of {RELEASE}"]


def test_modules_of_another_kernel_are_refused(tree: Path, staging: Path) -> None:
    other = tree / "lib/modules/5.0.0"
    other.mkdir()
    with pytest.raises(KernelError, match=f"modules are for 5.0.0, the kernel is {RELEASE}"):
        stage_kernel(HostCommands(), staging, tree / f"boot/vmlinuz-{RELEASE}", modules=other, arch="x86_64")


def test_a_kernel_for_another_machine_is_refused(tree: Path, staging: Path) -> None:
    with pytest.raises(KernelError, match="is for x86_64, not for aarch64"):
        stage_kernel(HostCommands(), staging, tree / f"boot/vmlinuz-{RELEASE}", arch="aarch64")
    assert list(staging.iterdir()) == []
