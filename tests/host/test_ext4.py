"""Disks as the kernel sees them: mounted, grown and checked, in a mount namespace of their own."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest

from banger.host.command import HostCommands
from banger.host.disk import HostDisks, allocated_bytes
from tests.rings import IN_USER_NAMESPACE

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(IN_USER_NAMESPACE, reason="needs the host's own root: to mount disks"),
]


@pytest.fixture
def disks() -> HostDisks:
    return HostDisks(HostCommands())


def in_mount_namespace(image: Path, script: str, *, options: str = "ro") -> str:
    """Mount an image in a private mount namespace and return what a shell script prints there."""
    where = image.parent / "mnt"
    where.mkdir(exist_ok=True)
    line = f'mount -o loop,{options} "$1" "$2" && cd "$2" && {script}'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", line, "sh", image, where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "failed to setup loop device" in done.stderr:
        pytest.skip("this kernel gives no loop devices")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_content_is_roots_with_its_modes_kept(disks, tmp_path):
    seed = tmp_path / "a seed"
    (seed / "bin").mkdir(parents=True)
    (seed / "bin" / "tool").write_text("#!/bin/sh\n")
    (seed / "bin" / "tool").chmod(0o4755)
    (seed / ".profile").write_text("umask 022\n")
    (seed / ".profile").chmod(0o600)
    os.chown(seed / ".profile", 1234, 1234)
    disk = tmp_path / "work, disk.ext4"
    disks.make_ext4(disk, 256, uuid=str(uuid.uuid4()), label="work", content=seed)
    printed = in_mount_namespace(disk, "stat -c '%u:%g %a %n' . .profile bin/tool")
    assert printed.splitlines() == ["0:0 755 .", "0:0 600 .profile", "0:0 4755 bin/tool"]


def test_a_new_disk_is_clean_sparse_and_writable(disks, tmp_path):
    disk = tmp_path / "disk.ext4"
    disks.make_ext4(disk, 8192, uuid=str(uuid.uuid4()), label="work")
    assert disk.stat().st_size == 8192 * 1024 * 1024
    assert allocated_bytes(disk) < 64 * 1024 * 1024
    in_mount_namespace(disk, "echo kept > file && sync", options="rw")
    assert in_mount_namespace(disk, "cat file") == "kept\n"
    checked = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout


def test_an_overlay_shows_its_backing_file_and_never_changes_it(disks, tmp_path):
    backing, overlay = tmp_path / "root.ext4", tmp_path / "over, lay.qcow2"
    disks.make_ext4(backing, 64, uuid=str(uuid.uuid4()), label="root")
    before = backing.read_bytes()
    disks.make_overlay(overlay, backing, 1024)
    write = ["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", "-c", "read -P 7 0 1M", overlay]
    subprocess.run(write, check=True, capture_output=True, timeout=60)
    assert backing.read_bytes() == before
    info = subprocess.run(["qemu-img", "check", overlay], capture_output=True, text=True, timeout=60)
    assert info.returncode == 0, info.stdout
