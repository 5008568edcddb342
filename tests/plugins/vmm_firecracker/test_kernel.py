from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from banger.errors import KernelError
from banger_vmm_firecracker.kernel import find_elf
from tests.plugins.local.paper_kernel import make_bzimage, make_elf


def test_the_kernel_inside_is_unpacked_once(tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(make_bzimage(gzip.compress(make_elf())))
    found = find_elf(image, tmp_path / "cache")
    assert found.read_bytes() == make_elf()
    found.write_bytes(b"kept")
    assert find_elf(image, tmp_path / "cache").read_bytes() == b"kept"
    assert [entry.name for entry in found.parent.iterdir()] == [found.name]


def test_an_elf_kernel_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(make_elf())
    assert find_elf(tmp_path / "vmlinux", tmp_path / "cache") == tmp_path / "vmlinux"


def test_what_cannot_be_unpacked_leaves_nothing(tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(make_bzimage(b"something else"))
    with pytest.raises(KernelError):
        find_elf(image, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
