"""Root file systems that stay where they are, and what becomes of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from banger.errors import ConflictError, HostError, ImageError, KernelError, NotFoundError, UsageError
from banger.host.command import HostCommands
from banger.host.disk import HostDisks
from banger.testing.app import BangerApp
from tests.plugins.local.paper_kernel import RELEASE, write_tree


def register(app: BangerApp, path: Path, **choices: Any) -> dict[str, Any]:
    image: dict[str, Any] = app.call(
        "image.register", {"name": "mine", "rootfs": str(path), "kernel_ref": "test-kernel", **choices}
    )["image"]
    return image


def place(app: BangerApp, image: dict[str, Any]) -> Path:
    return app.paths.images / image["digest"].removeprefix("sha256:")[:32]


def read(path: Path, inside: str) -> bytes:
    return HostDisks(HostCommands()).read_file(path, inside)


def test_a_registered_file_stays_where_it_is_and_has_a_work_seed(app: BangerApp, rootfs: Path) -> None:
    image = register(app, rootfs, distro="homemade")
    assert (image["managed"], image["path"], image["distro"]) == (False, str(rootfs), "homemade")
    assert place(app, image).joinpath("rootfs.ext4").resolve() == rootfs
    assert read(place(app, image) / "work-seed.ext4", "/.profile") == b"export A=1\n"
    assert app.call("image.show", {"name": "mine"})["image"] == image
    assert list(app.paths.staging.iterdir()) == []


def test_a_work_seed_can_be_given(app: BangerApp, rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "notes").write_text("mine")
    image = register(app, rootfs, work_seed=str(tmp_path / "seed"))
    assert read(place(app, image) / "work-seed.ext4", "/notes") == b"mine"


def test_deleting_it_leaves_the_file(app: BangerApp, rootfs: Path) -> None:
    image = register(app, rootfs)
    app.call("image.delete", {"name": "mine"})
    assert rootfs.is_file() and not place(app, image).exists()


def test_a_kernel_of_files_comes_into_the_store(app: BangerApp, rootfs: Path, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    image = register(
        app,
        rootfs,
        kernel_ref=None,
        kernel=str(tree / f"boot/vmlinuz-{RELEASE}"),
        initrd=str(tree / f"boot/initramfs-{RELEASE}.img"),
        modules=str(tree / "lib/modules" / RELEASE),
    )
    kernel = app.call("kernel.show", {"name": "mine"})["kernel"]
    assert image["kernel_ref"] == kernel["digest"] and kernel["release"] == RELEASE
    assert kernel["modules_uuid"] and kernel["initrd"] and len(kernel["vmlinuz_sha256"]) == 64
    with pytest.raises(ConflictError, match="the image 'mine' boots with the kernel 'mine' only") as caught:
        app.call("kernel.rm", {"name": "mine"})
    assert caught.value.hint == "banger image delete mine"
    app.call("image.delete", {"name": "mine"})
    app.call("kernel.rm", {"name": "mine"})
    assert [path.name for path in app.paths.kernels.iterdir()] == []


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"kernel": "/boot/vmlinuz"}, UsageError, "--kernel-ref goes with none of"),
        ({"modules": "/lib/modules"}, UsageError, "--kernel-ref goes with none of"),
        ({"kernel_ref": None, "initrd": "/boot/initrd"}, UsageError, "belong to a kernel"),
        ({"kernel_ref": "nothing"}, NotFoundError, "there is no kernel 'nothing'"),
        ({"kernel_ref": None, "kernel": "/etc/passwd"}, KernelError, "/etc/passwd is not a kernel"),
        ({"name": "test-image"}, ConflictError, "an image called 'test-image' exists"),
        ({"name": "../x"}, UsageError, "is not a name for an image"),
        ({"rootfs": "relative"}, UsageError, "is not an absolute path"),
        ({"rootfs": "/no/such/file"}, UsageError, "No such file"),
        ({"rootfs": "/tmp"}, UsageError, "is not a file"),
        ({"rootfs": "/dev/null"}, UsageError, "is not a file"),
        ({"rootfs": "/etc/passwd"}, ImageError, "is not an ext4 file system"),
        ({"work_seed": "/etc/passwd"}, UsageError, "is not a directory"),
    ],
    ids=str,
)
def test_what_cannot_be_registered_leaves_nothing(
    app: BangerApp, rootfs: Path, choices: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        register(app, rootfs, **choices)
    assert [image["name"] for image in app.call("image.list")["images"]] == ["test-image"]
    assert [kernel["name"] for kernel in app.call("kernel.list")["kernels"]] == ["test-kernel"]
    assert [*app.paths.images.iterdir(), *app.paths.kernels.iterdir(), *app.paths.staging.iterdir()] == []


def test_content_that_is_there_takes_its_kernel_back(app: BangerApp, rootfs: Path, tmp_path: Path) -> None:
    register(app, rootfs)
    tree = write_tree(tmp_path / "tree")
    choices = {"name": "second", "kernel_ref": None, "kernel": str(tree / f"boot/vmlinuz-{RELEASE}")}
    with pytest.raises(ConflictError, match="the same content is in the store as 'mine'"):
        register(app, rootfs, **choices)
    assert [kernel["name"] for kernel in app.call("kernel.list")["kernels"]] == ["test-kernel"]


def test_promote_copies_and_keeps_the_digest(app: BangerApp, rootfs: Path) -> None:
    image = register(app, rootfs)
    promoted = app.call("image.promote", {"name": "mine"})["image"]
    assert (promoted["managed"], promoted["digest"], promoted["path"]) == (True, image["digest"], "")
    file = place(app, image) / "rootfs.ext4"
    assert not file.is_symlink() and file.read_bytes() == rootfs.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o400
    with pytest.raises(ConflictError, match="'mine' is in the store already"):
        app.call("image.promote", {"name": "mine"})


def test_promote_of_a_file_that_changed_is_refused(app: BangerApp, rootfs: Path) -> None:
    image = register(app, rootfs)
    with open(rootfs, "r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"x")
    with pytest.raises(ImageError, match="has changed since it was registered"):
        app.call("image.promote", {"name": "mine"})
    assert place(app, image).joinpath("rootfs.ext4").is_symlink()
    assert list(app.paths.staging.iterdir()) == []


def test_promote_without_the_file_is_refused(app: BangerApp, rootfs: Path) -> None:
    register(app, rootfs)
    rootfs.unlink()
    with pytest.raises(HostError, match="No such file"):
        app.call("image.promote", {"name": "mine"})


def test_a_seed_is_renewed_in_one_step(app: BangerApp, rootfs: Path, tmp_path: Path) -> None:
    image = register(app, rootfs)
    seed = place(app, image) / "work-seed.ext4"
    before = seed.stat().st_ino
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").write_text("new")
    app.call("image.seed", {"name": "mine", "directory": str(tmp_path / "other")})
    assert read(seed, "/notes") == b"new" and seed.stat().st_ino != before
    app.call("image.seed", {"name": "mine"})
    assert read(seed, "/.profile") == b"export A=1\n"
    assert sorted(path.name for path in seed.parent.iterdir()) == [
        "manifest.json",
        "rootfs.ext4",
        "work-seed.ext4",
    ]


def test_a_seed_that_cannot_be_made_leaves_the_old_one(app: BangerApp, rootfs: Path) -> None:
    image = register(app, rootfs)
    seed = place(app, image) / "work-seed.ext4"
    before = seed.read_bytes()
    with pytest.raises(UsageError, match="is not a directory"):
        app.call("image.seed", {"name": "mine", "directory": "/no/such"})
    assert seed.read_bytes() == before
