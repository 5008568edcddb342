"""The archive's container: a zstd stream of a tar whose members are known beforehand, written and read in one pass.

Any tar unpacks it. The reader here takes plain headers only, of the names it expects next: no links, no extensions, no
paths, so there is nothing to climb out with and nothing that is held in memory.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from banger.api import HostError, ImageError

_BLOCK = 512
_PIECE = 1 << 20
#: Bytes of a manifest.
MANIFEST_LIMIT = 1 << 20
#: The window that a stream may ask for, as for everything that is unpacked here.
_WINDOW = 1 << 27

#: Processors that packing uses at most; each costs some memory.
_THREADS = 4

Report = Callable[[int], None]


class _Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class ArchiveWriter:
    """Writes members one after the other to a file that is open."""

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        threads = min(_THREADS, os.cpu_count() or 1)
        compressor = zstandard.ZstdCompressor(level=3, write_checksum=True, threads=threads)
        self._stream: Any = compressor.stream_writer(file, closefd=False)

    def add(self, name: str, content: IO[bytes], size: int, report: Report | None = None) -> None:
        """Write one member; ``report`` is called with the bytes of each piece."""
        header = tarfile.TarInfo(name)
        header.size, header.mode = size, 0o600
        self._stream.write(header.tobuf(tarfile.GNU_FORMAT))
        left = size
        while left:
            piece = content.read(min(_PIECE, left))
            if not piece:
                raise HostError(f"{name} became shorter while it was read", hint="try again")
            self._stream.write(piece)
            left -= len(piece)
            if report is not None:
                report(len(piece))
        self._stream.write(bytes(-size % _BLOCK))

    def close(self) -> None:
        """Write the end."""
        self._stream.write(bytes(2 * _BLOCK))
        self._stream.close()


class ArchiveReader:
    """Reads members of an archive that may be anything.

    :raises ImageError: from every method, when it is not what it should be.
    """

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        self._error: type[Exception] = zstandard.ZstdError
        self._stream: _Stream = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(file)

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of the next member, which has to be of that name and at most ``limit`` bytes."""
        size = self._header(name)
        if size > limit:
            raise ImageError(f"the archive's {name} is too large: {size} bytes")
        data = self._take(size)
        self._take(-size % _BLOCK)
        return data

    def extract(self, name: str, size: int, target: Path, report: Report | None = None) -> str:
        """Write the next member to a new file, zeros as holes; its SHA-256, hexadecimal."""
        if self._header(name) != size:
            raise ImageError(f"the archive's {name} is not as large as its manifest says")
        digest = hashlib.sha256()
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            left = size
            while left:
                piece = self._take(min(_PIECE, left))
                digest.update(piece)
                _write_sparse(file, piece)
                left -= len(piece)
                if report is not None:
                    report(len(piece))
            file.truncate(size)
        self._take(-size % _BLOCK)
        return digest.hexdigest()

    def end(self) -> None:
        """Check that nothing follows."""
        if self._take(2 * _BLOCK).strip(b"\0") or self._read(1):
            raise ImageError("the archive goes on after its end")

    def _header(self, name: str) -> int:
        """Read a header and return the member's size."""
        block = self._take(_BLOCK)
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise ImageError("this is no image archive", hint="banger image export writes them") from error
        if info.name != name or info.type != tarfile.REGTYPE or info.size < 0:
            found = info.name[:80].encode("ascii", "backslashreplace").decode()
            raise ImageError(f"the archive holds {found!r} where {name} has to be")
        return info.size

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._read(size - len(data))
            if not piece:
                raise ImageError("the archive ends too early", hint="copy it again")
            data += piece
        return data

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except self._error as error:
            raise ImageError(
                f"this is no image archive, or it is damaged: {error}", hint="copy it again"
            ) from error


def _write_sparse(file: IO[bytes], piece: bytes) -> None:
    """Write a piece, leaving blocks of zeros out."""
    view, zeros = memoryview(piece), bytes(65536)
    for at in range(0, len(view), len(zeros)):
        part = view[at : at + len(zeros)]
        if part == zeros[: len(part)]:
            file.seek(len(part), os.SEEK_CUR)
        else:
            file.write(part)
