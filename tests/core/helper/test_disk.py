"""Root disks by device-mapper: what of it needs no device-mapper. The rest is tried where there is one: tests/smoke."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from banger.errors import ConflictError, HostError, UsageError
from banger.helper import disk
from banger.helper.requests import ReleaseDisk, SnapshotDisk

VM = "0123456789abcdef" * 2


def test_changes_of_every_chunk_have_room() -> None:
    """By the kernel's layout (drivers/md/dm-snap-persistent.c): a header, then a table for 256 chunks each."""
    for mib in (1, 64, 8192, 8193):
        chunks = mib * 256
        tables = -(-chunks // 256)
        assert disk.room_for(mib << 20) >= (1 + tables + chunks) * 4096
        assert disk.room_for(mib << 20) < (mib << 20) * 1.005 + (1 << 20)


def test_an_origin_is_the_image_and_zeros_behind_it() -> None:
    assert disk.base_table("/dev/loop7", 8192, 1 << 20) == "0 16 linear /dev/loop7 0\n16 2032 zero\n"
    assert disk.base_table("/dev/loop7", 8192, 8192) == "0 16 linear /dev/loop7 0\n"


def test_only_the_owners_own_files_without_links_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "way").symlink_to(".")
    os.mkfifo(tmp_path / "fifo")
    with disk.open_own(str(tmp_path / "file"), os.O_RDONLY, os.geteuid()) as found:
        assert os.read(found, 9) == b"x"
    for name in ("link", "way/file", "folder", "fifo", "none", "file/file"):
        with pytest.raises(HostError), disk.open_own(str(tmp_path / name), os.O_RDONLY, os.geteuid()):
            pass
    stranger = pytest.raises(HostError, match="no file of the owner's")
    with stranger, disk.open_own(str(tmp_path / "file"), os.O_RDONLY, os.geteuid() + 1):
        pass


@pytest.mark.parametrize(
    "path", ["", "x", "x/y", "/", "/a//b", "/a/../b", "/a/.", "/a/", "/a\nb", "/" + "a" * 4096]
)
def test_a_path_means_what_it_says(path: str) -> None:
    for paths in ((path, "/b"), ("/b", path)):
        with pytest.raises(UsageError, match="no absolute path without dots"):
            SnapshotDisk(VM, *paths, 64)


class Kernel:
    """What the device-mapper is asked, and what it refuses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mapper: Path) -> None:
        self.lines: list[tuple[str, ...]] = []
        self.refuses = ""
        self.mapper = mapper
        mapper.mkdir()
        monkeypatch.setattr(disk, "_MAPPER", mapper)
        monkeypatch.setattr(disk, "run_program", self.run)
        monkeypatch.setattr(disk, "attached", self.attached)

    def run(self, program: str, line: list[str], *, text: str, **_: Any) -> Any:
        command, name = line[0], line[-1]
        self.lines.append((command, name, text))
        if command == "create" and self.refuses == name[-4:]:
            return SimpleNamespace(returncode=1, stderr="device-mapper: no memory\nCommand failed\n")
        if command == "create":
            (self.mapper / name).touch()
        else:
            (self.mapper / name).unlink()
        return SimpleNamespace(returncode=0, stderr="")

    def attached(self, file: int, flags: int) -> Any:
        import contextlib

        return contextlib.nullcontext(f"/dev/loop{flags}")

    def devices(self) -> list[str]:
        return sorted(entry.name for entry in self.mapper.iterdir())


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    return Kernel(monkeypatch, tmp_path / "mapper")


def make(tmp_path: Path, size: int = 8192, mib: int = 64) -> SnapshotDisk:
    (tmp_path / "image").write_bytes(bytes(size))
    (tmp_path / "changes").touch()
    return SnapshotDisk(VM, str(tmp_path / "image"), str(tmp_path / "changes"), mib)


def test_a_disk_is_made_found_and_taken_down(kernel: Kernel, tmp_path: Path) -> None:
    request, name = make(tmp_path), f"banger-{VM}"
    assert disk.snapshot(request, os.geteuid()) == {"device": str(kernel.mapper / name), "made": True}
    assert disk.snapshot(request, os.geteuid()) == {"device": str(kernel.mapper / name), "made": False}
    assert kernel.devices() == [name, f"{name}-base"]
    assert kernel.lines[1][2] == f"0 131072 snapshot {kernel.mapper}/{name}-base /dev/loop0 P 8\n"
    assert (tmp_path / "changes").stat().st_size == disk.room_for(64 << 20)
    assert disk.release(ReleaseDisk(VM)) == {"removed": True}
    assert disk.release(ReleaseDisk(VM)) == {"removed": False}
    assert kernel.devices() == []
    assert [line[:2] for line in kernel.lines[2:]] == [("remove", name), ("remove", f"{name}-base")]


def test_half_a_disk_is_never_left(kernel: Kernel, tmp_path: Path) -> None:
    kernel.refuses = VM[-4:]
    with pytest.raises(HostError, match="dmsetup refused: device-mapper: no memory"):
        disk.snapshot(make(tmp_path), os.geteuid())
    assert kernel.devices() == []
    (kernel.mapper / f"banger-{VM}-base").touch()  # of a process that was cut off
    kernel.refuses = ""
    assert disk.snapshot(make(tmp_path), os.geteuid())["made"] is True


def test_an_image_that_does_not_fit_is_refused(kernel: Kernel, tmp_path: Path) -> None:
    for size in (0, 100, (1 << 20) + 512):
        with pytest.raises(ConflictError, match="bytes, the disk 1048576"):
            disk.snapshot(make(tmp_path, size, 1), os.geteuid())
    assert kernel.lines == []


def test_no_loop_device_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_CONTROL", str(tmp_path / "none"))
    with (
        pytest.raises(HostError, match="no loop device can be had: No such file") as caught,
        disk.attached(0, 0),
    ):
        pass
    assert "losetup" in (caught.value.hint or "")
