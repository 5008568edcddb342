"""A layer's bytes: decompressed while they are read, counted, hashed, bounded."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable
from typing import IO

from banger.api import ImageError

_CHUNK = 256 * 1024
#: The largest window that a zstd layer may ask for, bytes; it is memory.
_WINDOW = 128 * 1024 * 1024
#: What a layer may grow to when it is decompressed: this much in any case, then so many times its size.
FREE_BYTES, MOST_RATIO = 1024**3, 200
#: Bytes that may be read while one header of a tar is looked for: no archive that means well comes near.
HEADER_BYTES = 4 * 1024 * 1024


class LayerStream(io.BufferedIOBase):
    """The decompressed tar in a blob, as a file to read forward from.

    :param tick: called with the compressed bytes that were read so far.
    """

    def __init__(self, file: IO[bytes], size: int, tick: Callable[[int], None]) -> None:
        self._file, self._size, self._tick = file, size, tick
        self._left: int | None = None
        self._out = 0
        self._hash = hashlib.sha256()
        self._reader = _open_decompressed(file)

    def search_header(self, searching: bool) -> None:
        """Bound what is read from here on, or no more."""
        self._left = HEADER_BYTES if searching else None

    def read(self, size: int | None = -1) -> bytes:
        """Return at most ``size`` bytes; fewer only at the end."""
        try:
            data = self._reader(-1 if size is None else size)
        except (zlib.error, EOFError, OSError, ImageError) as error:
            raise ImageError(f"the layer cannot be decompressed: {error}") from error
        self._out += len(data)
        self._hash.update(data)
        if self._out > max(FREE_BYTES, self._size * MOST_RATIO):
            raise ImageError(f"the layer grows to more than {MOST_RATIO} times its size")
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise ImageError("the layer has a header of more than 4 MiB")
        self._tick(self._file.tell())
        return data

    def finish(self) -> str:
        """Read what is left, at most what padding needs, and return the digest of everything."""
        self.search_header(True)
        while self.read(_CHUNK):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def _open_decompressed(file: IO[bytes]) -> Callable[[int], bytes]:
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        import gzip

        return gzip.GzipFile(fileobj=file, mode="rb").read
    if magic == b"\x28\xb5\x2f\xfd":
        import zstandard

        reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(
            file, read_across_frames=True, closefd=False
        )

        def read(size: int) -> bytes:
            try:
                return reader.read(size)
            except zstandard.ZstdError as error:
                raise ImageError(str(error)) from error

        return read
    return file.read
