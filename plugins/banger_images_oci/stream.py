"""A layer's bytes: decompressed while they are read, counted, hashed, bounded."""

from __future__ import annotations

import hashlib
import io
import queue
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from banger.api import ImageError

_CHUNK = 256 * 1024
#: The largest window that a zstd layer may ask for, bytes; it is memory.
_WINDOW = 128 * 1024 * 1024
#: What a layer may grow to when it is decompressed: this much in any case, then so many times its size.
FREE_BYTES, MOST_RATIO = 1024**3, 200
#: Bytes that may be read while one header of a tar is looked for: no archive that means well comes near.
HEADER_BYTES = 4 * 1024 * 1024
#: Seconds between two reports while a layer is waited for.
_PATIENCE = 0.2
#: What is wrong with a layer's bytes, not with this machine.
_BROKEN = (zlib.error, EOFError, OSError, ValueError)
#: Chunks that are decompressed ahead of who reads: 32 MiB, so that the next layer is not waited for.
_AHEAD = 128


class LayerStream(io.BufferedIOBase):
    """The decompressed tar in a blob, as a file to read forward from. To be closed.

    A thread decompresses and hashes a little ahead, neither of which Python's lock holds up.

    :param opened: opens the blob; called in the thread, and may wait until the blob is there.
    :param tick: called with the compressed bytes that were read so far; also while the blob is waited for.
    """

    def __init__(self, opened: Callable[[], IO[bytes]], size: int, tick: Callable[[int], None]) -> None:
        self._size, self._tick = size, tick
        self._left: int | None = None
        self._out = 0
        self._position = 0
        self._hash = hashlib.sha256()
        self._rest = memoryview(b"")
        self._ended = False
        self._stop = threading.Event()
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._work, args=(opened,), name="banger-layer", daemon=True)
        self._thread.start()

    def search_header(self, searching: bool) -> None:
        """Bound what is read from here on, or no more."""
        self._left = HEADER_BYTES if searching else None

    def read(self, size: int | None = -1) -> bytes:
        """Return at most ``size`` bytes; fewer only at the end."""
        wanted = _CHUNK if size is None or size < 0 else size
        if wanted <= len(self._rest):
            return self._take(wanted).tobytes()
        pieces = []
        while wanted > 0 and (len(self._rest) > 0 or self._fill()):
            piece = self._take(wanted)
            wanted -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._out

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go on at a place that is not behind; ValueError for one that is."""
        if whence or offset < self._out:
            raise ValueError("it points back")
        while self._out < offset and (len(self._rest) > 0 or self._fill()):
            self._take(offset - self._out)
        return self._out

    def _take(self, wanted: int) -> memoryview:
        piece = self._rest[:wanted]
        self._rest = self._rest[len(piece) :]
        self._count(len(piece))
        return piece

    def finish(self) -> str:
        """Read what is left, at most what padding needs, and return the digest of everything."""
        self.search_header(True)
        while self.read(_CHUNK):
            pass
        return f"sha256:{self._hash.hexdigest()}"

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()
        super().close()

    def _count(self, size: int) -> None:
        self._out += size
        if self._out > max(FREE_BYTES, self._size * MOST_RATIO):
            raise ImageError(f"the layer grows to more than {MOST_RATIO} times its size")
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise ImageError("the layer has a header of more than 4 MiB")

    def _fill(self) -> bool:
        """Take the next chunk; false at the end."""
        if self._ended:
            return False
        found = self._wait()
        self._ended = not found
        if isinstance(found, _BROKEN):
            raise ImageError(f"the layer cannot be decompressed: {found}") from found
        if isinstance(found, BaseException):
            raise found
        self._rest = memoryview(found)
        return not self._ended

    def _wait(self) -> bytes | BaseException:
        """Return what comes next; who is told of progress may end the wait."""
        while True:
            try:
                return self._queue.get(timeout=_PATIENCE)
            except queue.Empty:
                pass
            finally:
                self._tick(self._position)

    def _work(self, opened: Callable[[], IO[bytes]]) -> None:
        try:
            with opened() as file:
                for chunk in _decompress(file):
                    self._position = file.tell()
                    self._hash.update(chunk)
                    if not self._put(chunk):
                        return
            self._put(b"")
        except BaseException as error:  # raised again in who reads
            self._put(error)

    def _put(self, found: bytes | BaseException) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(found, timeout=0.1)
                return True
            except queue.Full:
                pass
        return False


def _decompress(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a blob's content in chunks of at most 256 KiB, none of them empty."""
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        yield from _gunzip(file)
    elif magic == b"\x28\xb5\x2f\xfd":
        yield from _unzstd(file)
    else:
        while chunk := file.read(_CHUNK):
            yield chunk


def _gunzip(file: IO[bytes]) -> Iterator[bytes]:
    """Decompress one gzip member after the other; zeros after the last are padding."""
    data = file.read(_CHUNK)
    while data:
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while not member.eof:
            if not data:
                raise EOFError("it ends in the middle")
            chunk = member.decompress(data, _CHUNK)
            if chunk:
                yield chunk
            data = member.unconsumed_tail or (b"" if member.eof else file.read(_CHUNK))
        data = member.unused_data.lstrip(b"\0")
        while not data and (more := file.read(_CHUNK)):
            data = more.lstrip(b"\0")


def _unzstd(file: IO[bytes]) -> Iterator[bytes]:
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(
        file, read_across_frames=True, closefd=False
    )
    try:
        while chunk := reader.read(_CHUNK):
            yield chunk
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
