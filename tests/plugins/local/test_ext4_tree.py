"""Directories taken out of ext4 files, and of ones that were made to do harm."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from banger.errors import ImageError
from banger.host.command import HostCommands
from banger_local import ext4_tree
from banger_local.ext4_tree import unpack_ext4

#: Without checksums, so that a directory can be changed by hand.
MAKE = "mke2fs -q -F -t ext4 -b 4096 -O ^metadata_csum,^dir_index -E root_owner=0:0".split()


def make_image(tmp_path: Path, content: Path) -> Path:
    image = tmp_path / "image.ext4"
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
    subprocess.run([*MAKE, "-d", content, image, "16M"], check=True, env={"PATH": path}, timeout=60)
    return image


@pytest.fixture
def content(tmp_path: Path) -> Path:
    root = tmp_path / "content" / "root"
    (root / "a dir" / "inner").mkdir(parents=True)
    (root / "a dir" / "inner" / "file").write_text("deep")
    (root / ".profile").write_text("export A=1\n")
    (root / ".profile").chmod(0o640)
    (root / "empty").touch()
    (root / "link").symlink_to("/etc/passwd")
    (root / 'odd "quoted" \\name').write_text("odd")
    (root / "two\nlines").write_text("lines")
    os.mkfifo(root / "pipe")
    return tmp_path / "content"


def test_files_and_directories_come_and_nothing_else(tmp_path: Path, content: Path) -> None:
    target = tmp_path / "out"
    assert unpack_ext4(HostCommands(), make_image(tmp_path, content), "/root", target)
    there = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    assert there == [".profile", "a dir", "a dir/inner", "a dir/inner/file", "empty", 'odd "quoted" \\name']
    assert (target / "a dir/inner/file").read_text() == "deep"
    assert (target / ".profile").stat().st_mode & 0o777 == 0o640
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("tmp")]


def test_without_the_directory_nothing_is_made(tmp_path: Path, content: Path) -> None:
    assert not unpack_ext4(HostCommands(), make_image(tmp_path, content), "/home", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("evil", ["../../evil", "/tmp//evil", "..", "a/../../b"])
def test_a_name_that_leads_out_is_left_out(tmp_path: Path, content: Path, evil: str) -> None:
    harmless = "H" * len(evil)
    (content / "root" / harmless).write_text("harm")
    image = make_image(tmp_path, content)
    data = image.read_bytes()
    assert data.count(harmless.encode()) == 1 or len(evil) == 2
    entry = bytes((len(harmless), 1)) + harmless.encode()
    assert data.count(entry) == 1
    image.write_bytes(data.replace(entry, entry[:2] + evil.encode()))
    before = sorted(tmp_path.rglob("*"))
    assert unpack_ext4(HostCommands(), image, "/root", tmp_path / "out")
    made = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    assert all(path.is_relative_to(tmp_path / "out") for path in made)
    assert "harm" not in [path.read_text() for path in made if path.is_file()]


def test_a_directory_inside_itself_ends(tmp_path: Path, content: Path) -> None:
    image = make_image(tmp_path, content)
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
    line = ["debugfs", "-w", "-R", 'link /root "/root/a dir/loop"', image]
    subprocess.run(line, check=True, capture_output=True, env={"PATH": path}, timeout=60)
    assert unpack_ext4(HostCommands(), image, "/root", tmp_path / "out")
    assert (tmp_path / "out/a dir/inner/file").read_text() == "deep"


@pytest.mark.parametrize("limit", ["MAX_BYTES", "MAX_ENTRIES", "MAX_DEPTH"])
def test_too_much_is_refused(
    tmp_path: Path, content: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(ext4_tree, limit, 2)
    with pytest.raises(ImageError, match="/root in the image"):
        unpack_ext4(HostCommands(), make_image(tmp_path, content), "/root", tmp_path / "out")


def test_no_file_system_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(4096))
    with pytest.raises(ImageError, match="not an ext4 file system"):
        unpack_ext4(HostCommands(), tmp_path / "file", "/root", tmp_path / "out")
