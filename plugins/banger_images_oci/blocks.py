"""Where contents go: straight to their blocks on the image's disk, before there is a file system around them.

The geometry is fixed, so that it is known where mke2fs will put its own: the tables of 16 groups, which lie at the
beginning of the first of them, and copies of the superblock. Contents lie between.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import IO, NamedTuple

#: Bytes of a block, blocks of a group, groups whose tables lie together, inodes of a group.
BLOCK, GROUP, FLEX, GROUP_INODES = 4096, 32768, 16, 8192
#: Blocks of the journal, and where it begins: behind the tables of the first groups.
JOURNAL, JOURNAL_START = 8192, 9216
#: Blocks of group descriptors, with those kept for a file system that was grown to 512 GiB (64 bytes each).
DESCRIPTORS = 64
#: Blocks at the beginning of 16 groups, of the first 16, and of a group with a copy of the superblock.
_TABLES, _FIRST, _COPY = 9216, JOURNAL_START + JOURNAL + 64, DESCRIPTORS + 16
#: The longest extent, blocks; bytes that are written at once.
_LONGEST, _BATCH = 32768, 1 << 20
_ZEROS = bytes(BLOCK)
_KEEP_SIZE_PUNCH_HOLE = 3
#: Begin to write out, and do not wait: the disk works while more comes, and the last sync has little left.
_SYNC_FILE_RANGE_WRITE = 2


class Run(NamedTuple):
    """Blocks of a file that lie one behind the other: the first's number in the file, on the disk, and how many."""

    logical: int
    physical: int
    blocks: int


@cache
def has_copy(group: int) -> bool:
    """Tell whether a group holds a copy of the superblock (sparse_super): 0, 1 and powers of 3, 5 and 7."""
    if group < 2:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False


def first_free(block: int) -> int:
    """Return the first block from one on that is not mke2fs's."""
    while True:
        group, within = divmod(block, GROUP)
        start = 0 if group % FLEX else (_TABLES if group else _FIRST)
        if has_copy(group):
            start = max(start, _COPY)
        if within >= start:
            return block
        block = group * GROUP + start


class Blocks:
    """A disk that is being filled from its beginning.

    :param file: opened for reading and writing, unbuffered.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._descriptor = file.fileno()
        self._next = first_free(0)
        #: Beginning and end of what was taken, with mke2fs's own between.
        self._spans: list[list[int]] = []
        self._pending: list[bytes | memoryview] = []
        self._pending_at = self._pending_bytes = 0

    @property
    def end(self) -> int:
        """The block behind the last one that was taken."""
        return self._next

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Return beginning and end of everything that was taken, in order."""
        return [(start, end) for start, end in self._spans]

    def put(self, data: bytes, logical: int, runs: list[Run]) -> None:
        """Write a piece of a file that begins at one of its blocks, zeros left out; ``runs`` gets where it went."""
        view = memoryview(data)
        for start, end in _pieces(data):
            position = start
            while position < end:
                where, count = self._take(-(-(end - position) // BLOCK))
                _append(runs, logical + position // BLOCK, where, count)
                self._write(where, view[position : min(position + count * BLOCK, end)])
                position += count * BLOCK

    def put_whole(self, data: bytes) -> int:
        """Write one block, zeros or not, and return where."""
        assert len(data) == BLOCK
        where, _ = self._take(1)
        self._write(where, data)
        return where

    def forget(self, runs: Sequence[Run]) -> None:
        """Leave zeros where a file was that is in the image no more."""
        self.flush()
        for run in runs:
            punch(self._descriptor, run.physical, run.blocks)

    def flush(self) -> None:
        """Write what waits."""
        position, pieces = self._pending_at * BLOCK, self._pending
        self._pending, self._pending_bytes = [], 0
        while pieces:
            done = os.pwritev(self._descriptor, pieces[:1000], position)
            position += done
            while pieces and done >= len(pieces[0]):
                done -= len(pieces.pop(0))
            if done:
                pieces[0] = memoryview(pieces[0])[done:]
        start = self._pending_at * BLOCK
        if position > start:
            _libc().sync_file_range(
                self._descriptor,
                ctypes.c_int64(start),
                ctypes.c_int64(position - start),
                _SYNC_FILE_RANGE_WRITE,
            )

    def _take(self, wanted: int) -> tuple[int, int]:
        """Take at most so many blocks that lie one behind the other."""
        where = first_free(self._next)
        count = min(wanted, GROUP - where % GROUP)
        self._next = where + count
        if self._spans and self._spans[-1][1] == where:
            self._spans[-1][1] = self._next
        else:
            self._spans.append([where, self._next])
        return where, count

    def _write(self, block: int, data: bytes | memoryview) -> None:
        if block * BLOCK != self._pending_at * BLOCK + self._pending_bytes or self._pending_bytes >= _BATCH:
            self.flush()
            self._pending_at = block
        self._pending.append(data)
        self._pending_bytes += len(data)
        if rest := -len(data) % BLOCK:
            self._pending.append(_ZEROS[:rest])
            self._pending_bytes += rest


def _append(runs: list[Run], logical: int, physical: int, count: int) -> None:
    """Note a run, as part of the last one where it goes on there."""
    if runs:
        last = runs[-1]
        goes_on = (
            last.logical + last.blocks == logical
            and last.physical + last.blocks == physical
            and last.blocks + count <= _LONGEST
        )
        if goes_on:
            runs[-1] = Run(last.logical, last.physical, last.blocks + count)
            return
    runs.append(Run(logical, physical, count))


def _pieces(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield beginning and end of what is not zeros, from block to block."""
    begin = None
    for at in range(0, len(data), BLOCK):
        if data[at] == 0 and data[at : at + BLOCK] == _ZEROS[: len(data) - at]:
            if begin is not None:
                yield begin, at
                begin = None
        elif begin is None:
            begin = at
    if begin is not None:
        yield begin, len(data)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def punch(descriptor: int, block: int, count: int) -> None:
    """Make a hole where blocks were, or write zeros where the host's file system has no holes."""
    start, size = block * BLOCK, count * BLOCK
    arguments = (ctypes.c_int(_KEEP_SIZE_PUNCH_HOLE), ctypes.c_int64(start), ctypes.c_int64(size))
    if _libc().fallocate(descriptor, *arguments) != 0:
        for at in range(start, start + size, _BATCH):
            os.pwrite(descriptor, bytes(min(_BATCH, start + size - at)), at)
