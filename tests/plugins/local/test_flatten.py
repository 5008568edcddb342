from __future__ import annotations

import os
from pathlib import Path

import pytest

from banger.errors import HostError, ImageError
from banger.host.command import HostCommands
from banger.host.disk import HostDisks
from banger_local.flatten import flatten_disk, shrink_ext4

UUID = "0f0e0d0c-1111-4222-8333-444455556666"


@pytest.fixture
def disks() -> HostDisks:
    return HostDisks(HostCommands())


def make_image(disks: HostDisks, tmp_path: Path, size_mib: int = 512) -> Path:
    content = tmp_path / "content"
    content.mkdir()
    (content / "file").write_bytes(b"content" * 100_000)
    disks.make_ext4(tmp_path / "image", size_mib, uuid=UUID, label="x", content=content)
    return tmp_path / "image"


def test_a_file_system_becomes_small_and_keeps_what_it_holds(disks: HostDisks, tmp_path: Path) -> None:
    image = make_image(disks, tmp_path)
    shrink_ext4(HostCommands(), image)
    assert image.stat().st_size < 128 << 20
    assert disks.read_file(image, "/file") == b"content" * 100_000
    assert disks.read_uuid(image) == UUID
    size = image.stat().st_size
    shrink_ext4(HostCommands(), image)
    assert image.stat().st_size <= size


def test_a_damaged_file_system_is_said(disks: HostDisks, tmp_path: Path) -> None:
    image = make_image(disks, tmp_path, 64)
    with open(image, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(4 << 20))
    with pytest.raises(ImageError, match="file system is damaged"):
        shrink_ext4(HostCommands(), image)


def test_overlay_and_backing_file_become_one(disks: HostDisks, tmp_path: Path) -> None:
    image = make_image(disks, tmp_path, 64)
    disks.make_overlay(tmp_path / "overlay", image, 128)
    flatten_disk(HostCommands(), tmp_path / "overlay", tmp_path / "flat")
    flat = tmp_path / "flat"
    assert flat.stat().st_size == 128 << 20
    assert flat.stat().st_blocks * 512 < 32 << 20
    assert flat.stat().st_mode & 0o777 == 0o600
    assert disks.read_file(flat, "/file") == b"content" * 100_000


def test_what_is_no_overlay_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "overlay").write_bytes(b"no qcow2" * 1000)
    with pytest.raises(HostError):
        flatten_disk(HostCommands(), tmp_path / "overlay", tmp_path / "flat")
    assert not (tmp_path / "flat").exists()
