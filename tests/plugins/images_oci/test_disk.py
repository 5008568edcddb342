"""The file system that is written around contents, as e2fsck and debugfs see it."""

from __future__ import annotations

import contextlib
import io
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from registry_lab import Entry, entry, make_tar, tool

from banger.errors import ImageError
from banger.testing.contracts import RecordedProgress
from banger_images_oci import blocks, ext4
from banger_images_oci.blocks import BLOCK, FLEX, GROUP, Blocks
from banger_images_oci.disk import make_disk
from banger_images_oci.layers import LayerReader
from banger_images_oci.stream import LayerStream

UUID = "6c8bb6e5-3a0c-4ad5-9b6e-4b1e6ed6b6b1"


def build(directory: Path, *layers: list[Entry], begin: int = 0, check: bool = True) -> Path:
    """Make a disk of layers, its contents beginning at a block or later, and let e2fsck look at it."""
    target = directory / "rootfs.ext4"
    with open(target, "w+b", buffering=0) as file:
        area = Blocks(file)
        area._next = max(area._next, begin)
        reader = LayerReader(area)
        for layer in layers:
            tar = make_tar(layer)
            with LayerStream(lambda tar=tar: io.BytesIO(tar), len(tar), lambda done: None) as stream:
                reader.apply(stream)
                stream.finish()
        make_disk(reader, file, target, UUID, RecordedProgress(directory, directory))
    if check:
        checked = subprocess.run([tool("e2fsck"), "-fn", target], capture_output=True, text=True, timeout=120)
        assert checked.returncode == 0, checked.stdout
    return target


def shown(image: Path, request: str) -> bytes:
    done = subprocess.run(
        [tool("debugfs"), "-R", request, image], capture_output=True, check=True, timeout=60
    )
    return done.stdout


def test_where_copies_of_the_superblock_lie() -> None:
    groups = [group for group in range(130) if blocks.has_copy(group)]
    assert groups == [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]


@pytest.mark.parametrize("begin", [GROUP - 3, 3 * GROUP - 2, FLEX * GROUP - 2, 2 * FLEX * GROUP - 1])
def test_contents_go_around_tables_and_copies(tmp_path: Path, begin: int) -> None:
    content = random.Random(begin).randbytes(10 * BLOCK + 7)
    image = build(tmp_path, [entry("file", content), entry("after", b"x")], begin=begin)
    assert shown(image, "cat /file") == content
    assert shown(image, "cat /after") == b"x"
    assert image.stat().st_blocks * 512 < 40 << 20


def test_a_file_of_many_pieces(tmp_path: Path) -> None:
    noise = random.Random(1)
    content = b"".join(noise.randbytes(BLOCK) + bytes(BLOCK) for _ in range(1500)) + b"end"
    image = build(tmp_path, [entry("pieces", content), entry("zeros", bytes(100_000))])
    assert shown(image, "cat /pieces") == content
    assert b"(ETB" in shown(image, "stat /pieces")
    assert shown(image, "cat /zeros") == bytes(100_000)


def test_more_inodes_than_a_group_has(tmp_path: Path) -> None:
    names = [f"{number:05}" for number in range(9000)]
    image = build(tmp_path, [entry(f"many/{name}", name.encode()) for name in names])
    listed = shown(image, "ls -p /many").decode().splitlines()
    assert sorted(line.split("/")[5] for line in listed if line)[2:] == names
    assert shown(image, "cat /many/08999") == b"08999"


def test_what_was_replaced_or_deleted_leaves_no_bytes(tmp_path: Path) -> None:
    secret = b"only in the first layer " * 200_000
    image = build(
        tmp_path,
        [entry("replaced", secret), entry("deleted/by/name", secret), entry("kept", b"kept")],
        [entry("replaced", b"new"), entry(".wh.deleted")],
        [entry("later", b"l" * 5000)],
    )
    assert secret[:24] not in image.read_bytes()
    assert image.stat().st_blocks * 512 < 8 << 20
    assert [shown(image, f"cat /{name}") for name in ("replaced", "kept")] == [b"new", b"kept"]


def test_what_inodes_say(tmp_path: Path) -> None:
    attributes = {"SCHILY.xattr.user.long": "v" * 2900, "SCHILY.xattr.user.short": "s"}
    image = build(
        tmp_path,
        [
            entry("late", mtime=2**31 + 5, uid=70_000, gid=2**31, mode=0o6711),
            entry("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
            entry("wide", kind=tarfile.BLKTYPE, devmajor=259, devminor=70_000),
            entry("link", kind=tarfile.SYMTYPE, linkname="t" * 59),
            entry("longer", kind=tarfile.SYMTYPE, linkname="t" * 60),
            entry("has", pax_headers=attributes),
            entry("d/e/f", b""),
        ],
    )
    late = shown(image, "stat /late").decode()
    owner, group = (
        int(number) % 2**32 for number in late.split("User:")[1].split()[:3:2]
    )  # some print a sign
    assert (owner, group) == (70_000, 2**31) and "Mode:  06711" in late
    assert "mtime: 0x80000005:00000001" in late  # 2038, as kernels read it; programs differ
    assert b"Device major/minor number: 01:03" in shown(image, "stat /null")
    assert b"(New-style) Device major/minor number: 259:70000" in shown(image, "stat /wide")
    assert b"Fast link dest" in shown(image, "stat /link")
    assert b"EXTENTS" in shown(image, "stat /longer")
    assert shown(image, "ea_get -V /has user.long").strip() == b"v" * 2900
    assert b"Links: 3" in shown(image, "stat /d")


def test_more_names_than_an_inode_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ext4, "LINK_LIMIT", 4)
    links = [entry(f"l{number}", kind=tarfile.LNKTYPE, linkname="file") for number in range(4)]
    with pytest.raises(ImageError, match="more than 4 names"):
        build(tmp_path, [entry("file"), *links])
    folders = [entry(f"d/{number}", kind=tarfile.DIRTYPE) for number in range(9)]
    image = build(tmp_path, folders, check=False)  # which knows the real limit
    assert b"Links: 1 " in shown(image, "stat /d")


NAMES = st.sampled_from(["a", "b", "a/b", "a/b/c", ".wh.a", "a/.wh.b", "a/.wh..wh..opq", "x\ny", "é"])
KINDS = st.sampled_from([b"0", b"1", b"2", b"3", b"5", b"6"])
LAYER = st.lists(st.tuples(NAMES, KINDS, st.integers(0, 3 * BLOCK)), max_size=8)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(LAYER, min_size=1, max_size=3))
@example([[("a", b"0", 9000), ("b", b"1", 0)], [("a", b"5", 0), ("b", b"0", 1)], [(".wh.a", b"0", 0)]])
def test_whatever_layers_hold_the_file_system_is_sound(
    tmp_path: Path, layers: list[list[tuple[str, bytes, int]]]
) -> None:
    made = [
        [entry(name, b"c" * (size if kind == b"0" else 0), kind, linkname="a") for name, kind, size in layer]
        for layer in layers
    ]
    with contextlib.suppress(ImageError):
        build(tmp_path, *made)
