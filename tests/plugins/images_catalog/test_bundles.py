"""Bundles as anybody may make them: what is right is unpacked, everything else is refused and nothing is left."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
import zstandard
from pydantic import BaseModel

from banger.errors import BangerError, ImageError, KernelError
from banger.model.source import ImageSource, KernelSource, PulledImage
from banger.testing.contracts import ImageSourceContract, KernelSourceContract, RecordedProgress
from banger_images_catalog import (
    banger_register_image_sources,
    banger_register_kernel_sources,
    bundle,
)
from banger_images_catalog.settings import Settings
from banger_images_catalog.source import pull_image, pull_kernel
from tests.plugins.images_catalog.catalog_lab import (
    ARCH,
    catalog,
    context,
    entry,
    image_members,
    kernel_members,
    make_rootfs,
    pack,
    publish,
)


class TestImages(ImageSourceContract):
    reference = "box"
    unknown = "../box"
    cancel_at = "unpacking"
    models: ClassVar[dict[str, BaseModel]] = {}

    @pytest.fixture
    def source(self, tmp_path: Path) -> ImageSource:
        rootfs = make_rootfs(tmp_path).read_bytes()
        publish(tmp_path, pack(image_members(rootfs, distro="debian", env={"A": "b"}, user="me")))
        self.models["images-catalog"] = Settings(catalogs=(str(tmp_path / "catalog.json"),))
        return banger_register_image_sources()[0]

    def check_pulled(self, pulled: PulledImage, ctx: RecordedProgress) -> None:
        assert (pulled.distro, dict(pulled.env), pulled.user) == ("debian", {"A": "b"}, "me")
        assert b"ID=debian" in ctx.disks.read_file(pulled.rootfs, "/usr/lib/os-release")


class TestKernels(KernelSourceContract):
    reference = "tiny"
    unknown = "../tiny"
    cancel_at = "unpacking"
    models: ClassVar[dict[str, BaseModel]] = {}

    @pytest.fixture
    def source(self, tmp_path: Path) -> KernelSource:
        modules = make_rootfs(tmp_path).read_bytes()
        packed = pack([*kernel_members(), ("modules.ext4", modules)])
        (tmp_path / "box.tar.zst").write_bytes(packed)
        (tmp_path / "catalog.json").write_bytes(catalog(kernels=(entry(packed, name="tiny"),)))
        self.models["images-catalog"] = Settings(catalogs=(str(tmp_path / "catalog.json"),))
        return banger_register_kernel_sources()[0]


def bomb(name: str, size: int) -> bytes:
    """Return a header that promises much, and as many zeros, in a few kilobytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    packed = packer.compress(info.tobuf(tarfile.GNU_FORMAT))
    zeros = bytes(1 << 24)
    for _ in range(min(size, 1 << 28) >> 24):
        packed += packer.compress(zeros)
    return packed + packer.flush()


FS = b"\0" * 1024 + b"\0" * 0x38 + b"\x53\xef" + b"\0" * 4096
MANIFEST = image_members(b"")[0]

HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"\0", "damaged"),
    "no zstd": (b"PK\x03\x04" + bytes(100), "damaged"),
    "zstd of nothing": (zstandard.compress(b""), "ends too early"),
    "no tar": (zstandard.compress(b"x" * 2048), "no image archive"),
    "cut": (pack(image_members(FS))[:-20], "ends too early|damaged"),
    "no end": (pack(image_members(FS), end=False), "ends too early"),
    "goes on": (
        zstandard.compress(zstandard.decompress(pack(image_members(FS))) + b"x"),
        "goes on after its end",
    ),
    "extra member": (pack([*image_members(FS), ("extra", b"x")]), "holds 'extra'"),
    "twice": (pack([*image_members(FS), MANIFEST]), "holds 'manifest.json', which has no place"),
    "a directory": (pack([("./", b"")], {"./": tarfile.DIRTYPE}), "which has no place"),
    "parent": (pack([("../rootfs.ext4", FS)]), r"holds '../rootfs.ext4'"),
    "absolute": (pack([("/etc/cron.d/x", b"x")]), "holds '/etc/cron.d/x'"),
    "escapes in a name": (pack([("\x1b[2J", b"x")]), r"holds"),
    "symlink": (pack(image_members(b""), {"rootfs.ext4": tarfile.SYMTYPE}), "holds 'rootfs.ext4'"),
    "hard link": (pack(image_members(b""), {"rootfs.ext4": tarfile.LNKTYPE}), "holds 'rootfs.ext4'"),
    "device": (pack(image_members(b""), {"rootfs.ext4": tarfile.BLKTYPE}), "holds 'rootfs.ext4'"),
    "long name": (pack([("x" * 5000, b"x")]), "holds"),
    "no manifest": (pack([("rootfs.ext4", FS)]), "has no manifest.json"),
    "no rootfs": (pack([MANIFEST]), "has no rootfs.ext4"),
    "a large manifest": (pack([("manifest.json", b" " * (2 << 20))]), "manifest.json is too large"),
    "manifest is no JSON": (pack([("manifest.json", b"{"), ("rootfs.ext4", FS)]), "is no JSON"),
    "manifest is deep": (pack([("manifest.json", b"[" * 90000), ("rootfs.ext4", FS)]), "is no JSON"),
    "manifest is a list": (
        pack([("manifest.json", b"[]"), ("rootfs.ext4", FS)]),
        "manifest of 'box' is wrong",
    ),
    "newer": (pack(image_members(FS, version=2)), "manifest of 'box' is wrong: version"),
    "name": (pack(image_members(FS, name="../x")), "manifest of 'box' is wrong: name"),
    "kernel": (pack(image_members(FS, kernel_ref="a b")), "manifest of 'box' is wrong: kernel_ref"),
    "environment": (pack(image_members(FS, env={"A=B": "c"})), "manifest of 'box' is wrong: env"),
    "zero in the environment": (pack(image_members(FS, env={"A": "\0"})), "manifest of 'box' is wrong: env"),
    "other machine": (pack(image_members(FS, arch="vax")), f"is for vax, this machine is {ARCH}"),
    "no file system": (pack(image_members(b"x" * 4096)), "is not an ext4 file system"),
    "bomb": (bomb("rootfs.ext4", 10 << 30), "rootfs.ext4 is too large"),
    "bomb of a manifest": (bomb("manifest.json", 1 << 30), "manifest.json is too large"),
    "less than it says": (bomb("rootfs.ext4", (1 << 28) + 512), "ends too early"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bundles_are_refused_and_nothing_is_written_elsewhere(tmp_path: Path, case: str) -> None:
    packed, message = HOSTILE[case]
    publish(tmp_path, packed)
    ctx = context(tmp_path, str(tmp_path / "catalog.json"))
    with pytest.raises(BangerError, match=message) as caught:
        pull_image("box", ctx)
    assert caught.value.message.isprintable() and "\n" not in caught.value.message
    assert {path.name for path in tmp_path.iterdir()} == {"box.tar.zst", "cache", "catalog.json", "one"}
    assert {path.name for path in ctx.staging.iterdir()} <= {"bundle", "manifest.json", "rootfs.ext4"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (kernel_members(arch="vax"), "is for vax"),
        ([*kernel_members(), ("modules.ext4", b"x" * 4096)], "modules.ext4 of 'box' is not an ext4"),
        (kernel_members()[:1], "has no vmlinuz"),
        ([*kernel_members(), ("rootfs.ext4", FS)], "has no place"),
        ([kernel_members()[0], ("vmlinuz", b"MZ" + bytes(4096))], "is no kernel"),
    ],
    ids=range(5),
)
def test_hostile_kernels_are_refused(tmp_path: Path, members: list[tuple[str, bytes]], message: str) -> None:
    packed = pack(members)
    (tmp_path / "box.tar.zst").write_bytes(packed)
    (tmp_path / "catalog.json").write_bytes(catalog(kernels=(entry(packed),)))
    with pytest.raises(KernelError, match=message):
        pull_kernel("box", context(tmp_path, str(tmp_path / "catalog.json")))


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size": 7}], ids=str)
def test_other_content_than_the_catalog_says(tmp_path: Path, change: dict[str, Any]) -> None:
    publish(tmp_path, pack(image_members(FS)), **change)
    with pytest.raises(ImageError, match="is not what the catalog says"):
        pull_image("box", context(tmp_path, str(tmp_path / "catalog.json")))


def test_any_order_and_the_tar_of_everybody(tmp_path: Path) -> None:
    rootfs = make_rootfs(tmp_path).read_bytes()
    publish(tmp_path, pack(image_members(rootfs)[::-1]), kernel_ref="mine")
    ctx = context(tmp_path, str(tmp_path / "catalog.json"))
    assert pull_image("box", ctx).rootfs.read_bytes() == rootfs


def test_holes_stay_holes_and_the_limit_is_relative_to_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rootfs = make_rootfs(tmp_path, size_mib=64)
    packed = pack(image_members(rootfs.read_bytes()))
    publish(tmp_path, packed)
    pulled = pull_image("box", context(tmp_path, str(tmp_path / "catalog.json")))
    assert pulled.rootfs.stat().st_size == 64 << 20
    assert pulled.rootfs.stat().st_blocks * 512 < 16 << 20
    monkeypatch.setattr(bundle, "FREE_BYTES", 0)
    monkeypatch.setattr(bundle, "MOST_RATIO", (64 << 20) // len(packed) - 1)
    with pytest.raises(ImageError, match="rootfs.ext4 is too large"):
        pull_image("box", context(tmp_path, str(tmp_path / "catalog.json"), name="two"))


def test_written_bundles_are_the_same_every_time_and_are_read_again(tmp_path: Path) -> None:
    rootfs = make_rootfs(tmp_path)
    manifest = bundle.ImageManifest(name="box", arch=ARCH, env={"A": "b"}, cmd=("sh",))
    made = []
    for name in ("a", "b"):
        with open(tmp_path / name, "wb") as file:
            bundle.write_bundle(file, manifest, {"rootfs.ext4": rootfs}, lambda done, total: None)
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    publish(tmp_path, made[0])
    pulled = pull_image("box", context(tmp_path, str(tmp_path / "catalog.json")))
    assert pulled.rootfs.read_bytes() == rootfs.read_bytes()
    assert (dict(pulled.env), pulled.cmd) == ({"A": "b"}, ("sh",))
    assert json.loads(manifest.model_dump_json(exclude_defaults=True))["name"] == "box"
