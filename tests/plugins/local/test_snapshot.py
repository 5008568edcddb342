"""An image and the device-mapper's file of changes to it, put together; the smoke ring has the kernel's own."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from banger.errors import ImageError
from banger_local.snapshot import flatten_snapshot

CHUNK = 4096
#: Pairs in the one chunk of an area's table.
PAIRS = CHUNK // 16


def chunk_of(number: int) -> bytes:
    return struct.pack("<Q", number) * (CHUNK // 8)


def write_changes(path: Path, changed: list[int], *, valid: int = 1, magic: int = 0x70416E53) -> None:
    """Write what the kernel writes after these chunks of the disk were written to, in this order."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IIII", magic, valid, 1, CHUNK // 512))
        for number, old in enumerate(changed):
            area, index = divmod(number, PAIRS)
            table = (1 + area * (PAIRS + 1)) * CHUNK
            new = table // CHUNK + 1 + index
            file.seek(table + index * 16)
            file.write(struct.pack("<QQ", old, new))
            file.seek(new * CHUNK)
            file.write(chunk_of(1000 + old))
        file.truncate(64 << 20)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"".join(chunk_of(number) for number in range(16)))
    return path


def flatten(image: Path, size: int = 8 << 20) -> Path:
    target = image.with_name("flat")
    flatten_snapshot(image, image.with_name("changes"), target, size)
    return target


def test_changes_are_where_the_disk_has_them(image: Path) -> None:
    write_changes(image.with_name("changes"), [3, 4, 5, 9, 0, 2000])
    flat = flatten(image)
    content = flat.read_bytes()
    for number in range(16):
        expected = 1000 + number if number in (0, 3, 4, 5, 9) else number
        assert content[number * CHUNK : (number + 1) * CHUNK] == chunk_of(expected), number
    assert content[2000 * CHUNK : 2001 * CHUNK] == chunk_of(3000)
    assert not any(content[16 * CHUNK : 2000 * CHUNK])
    assert (len(content), flat.stat().st_mode & 0o777) == (8 << 20, 0o600)
    assert flat.stat().st_blocks * 512 < 1 << 20


def test_more_changes_than_one_table_has_room_for(image: Path) -> None:
    changed = [*range(1000, 1000 + PAIRS), *range(10, 20)]
    write_changes(image.with_name("changes"), changed)
    content = flatten(image).read_bytes()
    for number in changed:
        assert content[number * CHUNK : (number + 1) * CHUNK] == chunk_of(1000 + number), number


def test_an_unchanged_disk_is_the_image(image: Path) -> None:
    write_changes(image.with_name("changes"), [])
    assert flatten(image).read_bytes() == image.read_bytes().ljust(8 << 20, b"\0")


@pytest.mark.parametrize(
    ("changed", "options", "said"),
    [
        ([1], {"valid": 0}, "the kernel gave the root disk up"),
        ([1], {"magic": 7}, "changes is damaged"),
        ([1 << 40], {}, "the table of the root disk's changes is damaged"),
    ],
)
def test_a_damaged_file_leaves_nothing(
    image: Path, changed: list[int], options: dict[str, int], said: str
) -> None:
    write_changes(image.with_name("changes"), changed, **options)
    with pytest.raises(ImageError, match=said):
        flatten(image)
    assert not image.with_name("flat").exists()


def test_what_is_no_snapshot_is_said(image: Path) -> None:
    image.with_name("changes").touch()
    with pytest.raises(ImageError, match="changes is damaged"):
        flatten(image)
