"""Disks of a VM that is down become an image; a running one's are the vm ring's."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from banger.daemon.publish import content_dir
from banger.errors import ConflictError, ImageError, NotFoundError
from banger.host.command import HostCommands
from banger.host.disk import HostDisks
from banger.model.vm import VmState
from banger.testing.app import BangerApp
from banger.testing.samples import sample_vm

SEED = "22222222-3333-4444-8555-666666666666"


@pytest.fixture
def disks(app: BangerApp, rootfs: Path) -> Path:
    """Give the directory of a stopped VM with a root disk over a registered image, and a work disk."""
    digest = app.call("image.register", {"name": "mine", "rootfs": str(rootfs), "distro": "homemade"})[
        "image"
    ]["digest"]
    vm = sample_vm(name="web", image=digest, state=VmState.STOPPED)
    app.services.database.add_vm(vm)
    directory = app.paths.vms / vm.id
    directory.mkdir()
    tools = HostDisks(HostCommands())
    tools.make_overlay(directory / "root.qcow2", content_dir(app.paths.images, digest) / "rootfs.ext4", 64)
    content = rootfs.parent / "work"
    content.mkdir()
    (content / "notes").write_text("done")
    tools.make_ext4(directory / "work.ext4", 32, uuid=SEED, label="w", content=content)
    return directory


def test_root_and_work_disk_become_an_image(app: BangerApp, disks: Path) -> None:
    image = app.call("image.commit", {"vm": "web", "name": "ready"})["image"]
    assert (image["name"], image["source"], image["distro"]) == ("ready", "commit:web", "homemade")
    place = content_dir(app.paths.images, image["digest"])
    read = HostDisks(HostCommands()).read_file
    assert read(place / "rootfs.ext4", "/etc/hostname") == b"here\n"
    assert read(place / "work-seed.ext4", "/notes") == b"done"
    assert place.joinpath("rootfs.ext4").stat().st_size < 32 << 20
    assert list(app.paths.staging.iterdir()) == []
    assert sorted(path.name for path in disks.iterdir()) == ["root.qcow2", "work.ext4"]


def test_a_snapshot_of_the_device_mapper_becomes_an_image(app: BangerApp, disks: Path) -> None:
    (disks / "root.qcow2").unlink()
    unchanged = struct.pack("<IIII", 0x70416E53, 1, 1, 8).ljust(64 << 10, b"\0")
    (disks / "root.changes").write_bytes(unchanged)
    image = app.call("image.commit", {"vm": "web", "name": "ready"})["image"]
    place = content_dir(app.paths.images, image["digest"])
    assert HostDisks(HostCommands()).read_file(place / "rootfs.ext4", "/etc/hostname") == b"here\n"
    assert sorted(path.name for path in disks.iterdir()) == ["root.changes", "work.ext4"]


def test_a_damaged_disk_is_no_image(app: BangerApp, disks: Path) -> None:
    with open(disks / "work.ext4", "r+b") as file:
        file.seek(4096)
        file.write(b"x" * (2 << 20))
    with pytest.raises(ImageError, match="the file system is damaged"):
        app.call("image.commit", {"vm": "web", "name": "ready"})
    assert [image["name"] for image in app.call("image.list")["images"]] == ["mine", "test-image"]
    assert list(app.paths.staging.iterdir()) == []


@pytest.mark.parametrize("state", [VmState.STARTING, VmState.STOPPING])
def test_disks_that_change_are_no_image(app: BangerApp, disks: Path, state: VmState) -> None:
    vm = app.services.database.vms()[0]
    app.services.database.update_vm(vm.model_copy(update={"state": state}))
    with pytest.raises(ConflictError, match=f"'web' is {state}: its disks change"):
        app.call("image.commit", {"vm": "web", "name": "ready"})
    assert list(app.paths.staging.iterdir()) == []
    app.services.database.update_vm(vm)


def test_what_cannot_be_committed(app: BangerApp, disks: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no VM 'otter'"):
        app.call("image.commit", {"vm": "otter", "name": "ready"})
    with pytest.raises(ConflictError, match="an image called 'mine' exists"):
        app.call("image.commit", {"vm": "web", "name": "mine"})
    (disks / "root.qcow2").unlink()
    with pytest.raises(ConflictError, match="was never started"):
        app.call("image.commit", {"vm": "web", "name": "ready"})
