"""Kernels of directories: which of their files, and what does not fit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from banger.errors import BangerError, ConflictError
from banger.testing.app import BangerApp
from banger_local.discovery import discover_kernel, version_key
from tests.plugins.local.paper_kernel import RELEASE, make_bzimage, make_elf, write_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


def test_a_kernel_is_taken_over_whole(app: BangerApp, tree: Path) -> None:
    params = {"name": "mine", "directory": str(tree), "distro": "void"}
    notices: list[str] = []
    kernel = app.call(
        "kernel.import", params, on_event=lambda event: notices.append(str(event.get("text", "")))
    )["kernel"]
    assert (kernel["name"], kernel["release"], kernel["distro"]) == ("mine", RELEASE, "void")
    assert kernel["vmlinuz_sha256"] == hashlib.sha256(make_bzimage()).hexdigest()
    assert kernel["initrd"] and kernel["modules_uuid"]
    assert f"initramfs-{RELEASE}.img is kept; VMs boot with an initramfs of banger's own" in notices
    place = app.paths.kernels / kernel["digest"][7:39]
    assert sorted(path.name for path in place.iterdir()) == [
        "initrd.img",
        "manifest.json",
        "modules.ext4",
        "vmlinuz",
    ]
    assert json.loads((place / "manifest.json").read_text())["vmlinuz_sha256"] == kernel["vmlinuz_sha256"]
    with pytest.raises(ConflictError, match="a kernel called 'mine' exists"):
        app.call("kernel.import", params)
    with pytest.raises(ConflictError, match="the same content is in the store as 'mine'"):
        app.call("kernel.import", {**params, "name": "other"})
    assert list(app.paths.staging.iterdir()) == []


def test_newest_of_several(tree: Path) -> None:
    write_tree(tree / "new", "6.10.2")
    for path in (tree / "new").rglob("*"):
        target = tree / path.relative_to(tree / "new")
        if path.is_file() and not path.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    found = discover_kernel(tree)
    assert found.kernel.name == "vmlinuz-6.10.2"
    assert found.initrd is not None and found.initrd.name == "initramfs-6.10.2.img"
    assert found.modules is not None and found.modules.name == "6.10.2"


def test_an_uncompressed_kernel_comes_before_a_compressed_one(tree: Path) -> None:
    (tree / "boot" / f"vmlinux-{RELEASE}").write_bytes(make_elf())
    assert discover_kernel(tree).kernel.name == f"vmlinux-{RELEASE}"


def test_a_directory_with_the_kernel_in_it(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(make_elf())
    found = discover_kernel(tmp_path)
    assert (found.kernel.name, found.initrd, found.modules) == ("vmlinux", None, None)


def test_metadata_comes_first(tree: Path) -> None:
    (tree / "special").write_bytes(make_elf("5.5.5"))
    (tree / "metadata.json").write_text(
        json.dumps({"kernel": "special", "distro": "void", "arch": "x86_64", "other": 1})
    )
    found = discover_kernel(tree)
    assert (found.kernel.name, found.distro, found.arch, found.modules) == ("special", "void", "x86_64", None)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "not a table"),
        ("{}", "names no kernel"),
        ('{"kernel": 3}', "kernel is not a path"),
        ('{"kernel": "../../etc/passwd"}', "leads out of"),
        ('{"kernel": "/etc/passwd"}', "leads out of"),
        ('{"kernel": "out"}', "leads out of"),
        ('{"kernel": "boot/none"}', "cannot be read"),
        ('{"kernel": "boot", "distro": "a b"}', "distro is not a word"),
    ],
)
def test_wrong_metadata_is_named(app: BangerApp, tree: Path, metadata: str, message: str) -> None:
    (tree / "out").symlink_to("/etc/passwd")
    (tree / "metadata.json").write_text(metadata)
    with pytest.raises(BangerError, match=message):
        app.call("kernel.import", {"name": "mine", "directory": str(tree)})
    assert [kernel["name"] for kernel in app.call("kernel.list")["kernels"]] == ["test-kernel"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"directory": "/no/such"}, "No such file"),
        ({"directory": "/etc/passwd"}, "is not a directory"),
        ({"directory": "/etc/apt"}, "there is no kernel in /etc/apt"),
        ({"arch": "aarch64"}, "is for x86_64, not for aarch64"),
        ({"name": "a b"}, "is not a name for a kernel"),
    ],
    ids=str,
)
def test_what_cannot_be_imported_leaves_nothing(
    app: BangerApp, tree: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BangerError, match=message):
        app.call("kernel.import", {"name": "mine", "directory": str(tree), **changes})
    assert [*app.paths.kernels.iterdir(), *app.paths.staging.iterdir()] == []


def test_versions_compare_as_people_count() -> None:
    names = ["vmlinuz-6.1.0~rc1", "vmlinuz-6.1.0", "vmlinuz-6.1.0-9", "vmlinuz-6.1.0-10", "vmlinuz-6.12"]
    backwards = names[::-1]
    assert sorted(backwards, key=version_key) == names
