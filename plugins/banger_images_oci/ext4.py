"""The structures of ext4 as they lie on a disk: inodes, trees of extents, directories.

Field names and offsets are those of the kernel's documentation, "ext4 Data Structures and Algorithms". Checksums are
left out: tune2fs adds all of them at once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from banger_images_oci.blocks import BLOCK, Run

INODE_SIZE, EXTRA_ISIZE = 256, 32
#: More links than that the 16 bits of an inode do not count; a directory of more says 1 (dir_nlink).
LINK_LIMIT = 65000
_EXTENTS = 0x80000
_EXTENT_MAGIC, _EXTENTS_IN_INODE, _EXTENTS_IN_BLOCK = 0xF30A, 4, 340
#: Bytes at a block's end that are kept for a directory's checksum, as an entry without a name.
_TAIL = struct.pack("<IHBBI", 0, 12, 0, 0xDE, 0)
TYPES = {"f": 0o100000, "d": 0o40000, "l": 0o120000, "c": 0o20000, "b": 0o60000, "p": 0o10000}
_ENTRY_TYPES = {"f": 1, "d": 2, "c": 3, "b": 4, "p": 5, "l": 7}
#: The longest target of a symbolic link that fits into its inode.
FAST_LINK = 59
_INODE = struct.Struct("<HHIIIIIHHIII60sIIIIHHHHHHHHIIIIII")


class Inode(NamedTuple):
    """What an inode says; times in seconds since 1970, ``blocks`` those of its tree of extents included."""

    mode: int
    uid: int
    gid: int
    size: int
    links: int
    mtime: int
    now: int
    blocks: int = 0
    data: bytes = b""
    extents: bool = False

    def pack(self) -> bytes:
        """Return its 256 bytes."""
        sectors = self.blocks * (BLOCK // 512)
        epoch, now_epoch = self.mtime >> 31, self.now >> 31
        head = _INODE.pack(
            self.mode,
            self.uid & 0xFFFF,
            self.size & 0xFFFFFFFF,
            self.now,
            self.now,
            self.mtime,
            0,
            self.gid & 0xFFFF,
            self.links,
            sectors & 0xFFFFFFFF,
            _EXTENTS if self.extents else 0,
            0,
            self.data,
            0,
            0,
            self.size >> 32,
            0,
            sectors >> 32,
            0,
            self.uid >> 16,
            self.gid >> 16,
            0,
            0,
            EXTRA_ISIZE,
            0,
            now_epoch,
            epoch,
            now_epoch,
            self.now,
            now_epoch,
            0,
        )
        return head.ljust(INODE_SIZE, b"\0")


def make_extents(runs: Sequence[Run], put: Callable[[bytes], int]) -> tuple[bytes, int]:
    """Return the 60 bytes in an inode that lead to runs, and how many blocks the tree took.

    :param put: writes a block and returns where.
    """
    entries = [
        struct.pack("<IHHI", run.logical, run.blocks, run.physical >> 32, run.physical & 0xFFFFFFFF)
        for run in runs
    ]
    firsts = [run.logical for run in runs]
    depth = taken = 0
    while len(entries) > _EXTENTS_IN_INODE:
        above, first_above = [], []
        for at in range(0, len(entries), _EXTENTS_IN_BLOCK):
            node = _extent_node(entries[at : at + _EXTENTS_IN_BLOCK], _EXTENTS_IN_BLOCK, depth)
            where = put(node.ljust(BLOCK, b"\0"))
            above.append(struct.pack("<IIHH", firsts[at], where & 0xFFFFFFFF, where >> 32, 0))
            first_above.append(firsts[at])
            taken += 1
        entries, firsts, depth = above, first_above, depth + 1
    return _extent_node(entries, _EXTENTS_IN_INODE, depth), taken


def _extent_node(entries: Sequence[bytes], room: int, depth: int) -> bytes:
    return struct.pack("<HHHHI", _EXTENT_MAGIC, len(entries), room, depth, 0) + b"".join(entries)


def make_directory(own: int, parent: int, entries: Iterable[tuple[bytes, int, str]]) -> Iterator[bytes]:
    """Yield a directory's blocks.

    :param entries: names, inodes and kinds of what is in it.
    """
    room = BLOCK - len(_TAIL)
    block, last = bytearray(), 0
    for name, inode, kind in ((b".", own, "d"), (b"..", parent, "d"), *entries):
        length = -(-(8 + len(name)) // 4) * 4
        if len(block) + length > room:
            yield _close_block(block, last, room)
            block, last = bytearray(), 0
        last = len(block)
        block += struct.pack("<IHBB", inode, length, len(name), _ENTRY_TYPES[kind]) + name.ljust(
            length - 8, b"\0"
        )
    yield _close_block(block, last, room)


def _close_block(block: bytearray, last: int, room: int) -> bytes:
    """Return a block whose last entry reaches to its tail."""
    struct.pack_into("<H", block, last + 4, room - last)
    return bytes(block.ljust(room, b"\0")) + _TAIL


def device_data(major: int, minor: int) -> bytes:
    """Return what a device's inode holds instead of extents."""
    if major < 256 and minor < 256:
        return struct.pack("<I", major << 8 | minor)
    return struct.pack("<II", 0, minor & 0xFF | major << 8 | (minor & ~0xFF) << 12)
