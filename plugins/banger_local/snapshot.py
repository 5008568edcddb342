"""A snapshot of the device-mapper's, read without it: the image and the file of changes to it put together.

The file of changes is laid out as drivers/md/dm-snap-persistent.c says, all little-endian: a chunk with a header, then
areas, each a chunk of (chunk of the disk, chunk of this file) pairs and the chunks that those lead to.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from banger.api import HostError, ImageError, copy_disk

_MAGIC, _VERSION, _SECTOR = 0x70416E53, 1, 512
_HEADER, _PAIR = struct.Struct("<IIII"), struct.Struct("<QQ")
#: Sectors of a chunk: what the device-mapper takes, up to 1 MiB.
_CHUNKS = frozenset(1 << shift for shift in range(3, 12))
#: Bytes that are copied at once.
_PIECE = 1 << 20


def flatten_snapshot(image: Path, changes: Path, target: Path, size: int) -> None:
    """Write what an image and the changes to it show together as one sparse file of ``size`` bytes.

    :raises ImageError: the file of changes is none, or the kernel gave it up.
    """
    copy_disk(image, target)
    try:
        with open(changes, "rb", buffering=0) as source, open(target, "r+b", buffering=0) as disk:
            os.ftruncate(disk.fileno(), size)
            chunk = _read_header(source.fileno())
            for old, new, count in _runs(_changed(source.fileno(), chunk, size // chunk)):
                _copy(source.fileno(), disk.fileno(), new * chunk, old * chunk, count * chunk)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise HostError(
            f"{target} cannot be written: {error.strerror}", hint="what takes room: banger system df"
        ) from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _read_header(source: int) -> int:
    """Return the bytes of a chunk."""
    head = os.pread(source, _HEADER.size, 0)
    magic, valid, version, sectors = _HEADER.unpack(head) if len(head) == _HEADER.size else (0, 0, 0, 0)
    if (magic, version) != (_MAGIC, _VERSION) or sectors not in _CHUNKS:
        raise ImageError("the file of the root disk's changes is damaged", hint="a new VM has a new one")
    if not valid:
        raise ImageError(
            "the kernel gave the root disk up: it had no room for a change", hint="banger system df; a new VM"
        )
    return int(sectors) * _SECTOR


def _changed(source: int, chunk: int, disk_chunks: int) -> Iterator[tuple[int, int]]:
    """Yield each changed chunk's place on the disk and in the file; ImageError when one is outside of either."""
    file_chunks = os.fstat(source).st_size // chunk
    for area in range(1, file_chunks, chunk // _PAIR.size + 1):
        for old, new in _PAIR.iter_unpack(os.pread(source, chunk, area * chunk)):
            if new == 0:
                return
            if old >= disk_chunks or new >= file_chunks:
                raise ImageError(
                    "the table of the root disk's changes is damaged", hint="a new VM has a new one"
                )
            yield old, new


def _runs(pairs: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Put neighbours together: place on the disk, place in the file, how many."""
    run: tuple[int, int, int] | None = None
    for old, new in pairs:
        if run is not None and (old, new) == (run[0] + run[2], run[1] + run[2]):
            run = (run[0], run[1], run[2] + 1)
            continue
        if run is not None:
            yield run
        run = (old, new, 1)
    if run is not None:
        yield run


def _copy(source: int, target: int, start: int, place: int, length: int) -> None:
    for offset in range(0, length, _PIECE):
        piece = memoryview(os.pread(source, min(_PIECE, length - offset), start + offset))
        at = place + offset
        while piece:
            written = os.pwrite(target, piece, at)
            piece, at = piece[written:], at + written
