"""Kernel files: what one is, of which release, and the ELF file inside a bzImage.

The layout of a bzImage is the x86 boot protocol's, Documentation/arch/x86/boot.rst of the kernel's source.
"""

from __future__ import annotations

import bz2
import lzma
import mmap
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO

from banger.errors import HostError, KernelError

#: Bytes a kernel file has at most; the largest, uncompressed and with all its symbols, have some hundred MiB.
MAX_KERNEL = 1 << 30
_MACHINES = {62: "x86_64", 183: "aarch64"}
_BANNER = re.compile(rb"Linux version (\d[\w.+~-]{0,63}) \(")
_RELEASE = re.compile(rb"\d[\w.+~-]{0,63}")
_PIECE = 1 << 20
#: Bytes that a block of lz4's legacy frame holds at most.
_LZ4_BLOCK = 8 << 20


@dataclass(frozen=True, slots=True)
class KernelFile:
    """What a kernel file is.

    :param format: ``bzimage``, ``elf`` or, for aarch64, ``image``; :param release: what ``uname -r`` prints;
    :param arch: ``uname -m``.
    """

    format: str
    release: str
    arch: str


def inspect_kernel(path: Path) -> KernelFile:
    """Return what a kernel file is; KernelError when it is none, HostError when it cannot be read."""
    with _mapped(path) as data:
        if data[0x202:0x206] == b"HdrS":
            start = 0x200 + struct.unpack_from("<H", data, 0x20E)[0]
            found = _RELEASE.match(data[start : start + 64])
            if found is None:
                raise KernelError(f"{path} does not say which release it is")
            return KernelFile("bzimage", found[0].decode(), "x86_64")
        kind, arch = _raw_kind(data)
        banner = _BANNER.search(data) if kind else None
        if not kind or banner is None:
            raise KernelError(
                f"{path} is not a kernel that banger knows",
                hint="a bzImage (vmlinuz) or an ELF file (vmlinux); unpack other compressed ones first",
            )
        return KernelFile(kind, banner[1].decode(), arch)


def _raw_kind(data: mmap.mmap) -> tuple[str, str]:
    if data[:6] == b"\x7fELF\x02\x01":
        arch = _MACHINES.get(struct.unpack_from("<H", data, 18)[0], "")
        return ("elf" if arch else ""), arch
    return ("image", "aarch64") if data[0x38:0x3C] == b"ARM\x64" else ("", "")


def extract_vmlinux(path: Path, target: Path) -> None:
    """Write the ELF file inside a bzImage, for VMMs that boot nothing else; an ELF file is copied. Never a part of it.

    :raises KernelError: what is inside is compressed in a way banger does not know, is damaged, or is no ELF file.
    """
    inspect_kernel(path)
    try:
        with _mapped(path) as data, open(target, "xb") as file:
            try:
                _write_elf(data, file)
            except BaseException:
                target.unlink()
                raise
    except (zlib.error, lzma.LZMAError, EOFError, ValueError, struct.error) as error:
        raise KernelError(f"the kernel inside {path} cannot be unpacked: {error}") from error
    except OSError as error:
        raise KernelError(
            f"the kernel inside {path} cannot be unpacked: {error.strerror or error}"
        ) from error


def _write_elf(data: mmap.mmap, file: IO[bytes]) -> None:
    if data[:4] == b"\x7fELF":
        pieces: Iterator[bytes] = (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
    else:
        pieces = _unpack(_payload(data))
    written = 0
    for piece in pieces:
        if written == 0 and not piece.startswith(b"\x7fELF"):
            raise ValueError("it is not an ELF file")
        written += len(piece)
        if written > MAX_KERNEL:
            raise ValueError(f"it is larger than {MAX_KERNEL >> 20} MiB")
        file.write(piece)
    if written == 0:
        raise ValueError("it is empty")


def _payload(data: mmap.mmap) -> bytes:
    if struct.unpack_from("<H", data, 0x206)[0] < 0x208:
        raise ValueError("its boot protocol is older than 2.08")
    setup = (data[0x1F1] or 4) + 1
    offset, length = struct.unpack_from("<II", data, 0x248)
    return data[setup * 512 + offset : setup * 512 + offset + length]


def _unpack(payload: bytes) -> Iterator[bytes]:
    """Yield the decompressed payload piece by piece; what follows the compressed stream is its size, and is left."""
    for magic, unpack in _UNPACKERS:
        if payload.startswith(magic):
            return unpack(payload)
    name = "lzo" if payload.startswith(b"\x89LZO") else "something unknown"
    raise ValueError(f"it is compressed by {name}")


def _by_zlib(payload: bytes) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(31)
    rest = payload
    while rest and not unpacker.eof:
        yield unpacker.decompress(rest, _PIECE)
        rest = unpacker.unconsumed_tail


def _by_lzma(payload: bytes) -> Iterator[bytes]:
    return _by_object(lzma.LZMADecompressor(memlimit=512 << 20), payload)


def _by_bz2(payload: bytes) -> Iterator[bytes]:
    return _by_object(bz2.BZ2Decompressor(), payload)


def _by_object(unpacker: lzma.LZMADecompressor | bz2.BZ2Decompressor, payload: bytes) -> Iterator[bytes]:
    yield unpacker.decompress(payload, _PIECE)
    while not unpacker.eof:
        piece = unpacker.decompress(b"", _PIECE)
        if not piece and unpacker.needs_input:
            raise EOFError("it ends too early")
        yield piece


def _by_zstd(payload: bytes) -> Iterator[bytes]:
    import zstandard

    stream = memoryview(payload)[:-4]  # without the size: it would be taken for another frame
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(stream) as reader:
            while piece := reader.read(_PIECE):
                yield piece
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _by_lz4(payload: bytes) -> Iterator[bytes]:
    """Unpack the legacy frame, which the kernel's makefiles use: a magic number, then blocks after their sizes."""
    block = import_module("lz4.block")
    at = 4
    while at + 4 <= len(payload):
        (size,) = struct.unpack_from("<I", payload, at)
        if at + 4 + size > len(payload):
            return  # the size of the whole, not of a block
        try:
            yield block.decompress(payload[at + 4 : at + 4 + size], _LZ4_BLOCK)
        except block.LZ4BlockError as error:
            raise ValueError(str(error)) from error
        at += 4 + size


_UNPACKERS: tuple[tuple[bytes, Callable[[bytes], Iterator[bytes]]], ...] = (
    (b"\x1f\x8b\x08", _by_zlib),
    (b"\xfd7zXZ\0", _by_lzma),
    (b"\x5d\0\0", _by_lzma),
    (b"BZh", _by_bz2),
    (b"\x28\xb5\x2f\xfd", _by_zstd),
    (b"\x02\x21\x4c\x18", _by_lz4),
)


def _mapped(path: Path) -> mmap.mmap:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if not 0x300 <= size <= MAX_KERNEL:
                raise KernelError(f"{path} is not a kernel: {size} bytes")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}") from error
