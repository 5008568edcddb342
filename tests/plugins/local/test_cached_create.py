"""A create whose image is here copies nothing of it and reads none of it through: its cost is not the image's size."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from banger.daemon.publish import content_dir
from banger.errors import BangerError, VmmError
from banger.host.command import HostCommands
from banger.host.disk import HostDisks, allocated_bytes
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import MakeApp
from tests.core.daemon.paper_lab import make_lab, make_vmm
from tests.plugins.local.paper_kernel import write_tree

#: Bytes of the large image's content.
CONTENT = 64 << 20


def moved_bytes() -> int:
    """Return the bytes that this process and the programs it ran have read and written."""
    lines = Path("/proc/self/io").read_text().splitlines()
    said = {name: int(value) for name, value in (line.split(": ") for line in lines)}
    return said["rchar"] + said["wchar"]


def test_create_costs_the_same_however_large_its_image_is(banger_app: MakeApp, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise VmmError("the disks are made, and that is all")

    app = banger_app(
        make_lab(vmms=[make_vmm(launch=refuse)]),
        builtin=["core", "local", "workdisk"],
        config="[defaults]\nmemory = 128\n",
    )
    app.call("kernel.import", {"name": "built", "directory": str(write_tree(tmp_path / "tree"))})
    moved = {}
    for name, size in (("first", 0), ("small", 0), ("large", CONTENT)):  # the first of all reads code, too
        image = register(app, tmp_path / name, name, size)
        stored = content_dir(app.paths.images, image["digest"]) / "rootfs.ext4"
        assert allocated_bytes(stored) >= size
        before = moved_bytes()
        with pytest.raises(BangerError, match="that is all"):
            app.call("vm.create", {"name": f"vm-{name}", "image": name, "disk_size": "64M"})
        moved[name] = moved_bytes() - before
    assert moved["large"] - moved["small"] < CONTENT // 8, moved
    before = moved_bytes()
    app.call("image.export", {"name": "large", "path": str(tmp_path / "out"), "kernel": False})
    assert moved_bytes() - before > CONTENT, "what is read through is seen"


def register(app: BangerApp, base: Path, name: str, size: int) -> dict[str, Any]:
    """Put an image with so many bytes of content into the store."""
    (base / "content" / "root").mkdir(parents=True)
    (base / "content" / "noise").write_bytes(random.Random(1).randbytes(size))
    uuid = f"11111111-2222-4333-8444-55555555{len(name):04}"
    disks = HostDisks(HostCommands())
    disks.make_ext4(base / "rootfs.ext4", 128, uuid=uuid, label=name, content=base / "content")
    app.call("image.register", {"name": name, "rootfs": str(base / "rootfs.ext4"), "kernel_ref": "built"})
    image: dict[str, Any] = app.call("image.promote", {"name": name})["image"]
    return image
