from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import zstandard

from banger.errors import HostError, KernelError
from banger.host.kernel_file import KernelFile, extract_vmlinux, inspect_kernel
from tests.plugins.local.paper_kernel import RELEASE, make_bzimage, make_elf


def lz4_legacy(data: bytes) -> bytes:
    """As ``lz4 -l`` writes it, in two blocks, with the size of all behind, as the kernel's makefiles add it."""
    block = import_module("lz4.block")
    packed = b"\x02\x21\x4c\x18"
    for part in (data[:3000], data[3000:]):
        piece = block.compress(part, store_size=False)
        packed += struct.pack("<I", len(piece)) + piece
    return packed + struct.pack("<I", len(data))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32) + struct.pack("<I", len(data)),
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE) + struct.pack("<I", len(data)),
    "bzip2": lambda data: bz2.compress(data) + struct.pack("<I", len(data)),
    "zstd": lambda data: zstandard.compress(data) + struct.pack("<I", len(data)),
    "lz4": lz4_legacy,
}


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_kernel_says_what_it_is(tmp_path: Path) -> None:
    assert inspect_kernel(written(tmp_path / "a", make_bzimage())) == KernelFile("bzimage", RELEASE, "x86_64")
    assert inspect_kernel(written(tmp_path / "b", make_elf())) == KernelFile("elf", RELEASE, "x86_64")
    arm = make_elf("5.10.0", machine=183)
    assert inspect_kernel(written(tmp_path / "c", arm)) == KernelFile("elf", "5.10.0", "aarch64")
    image = bytearray(make_elf("6.6.1"))
    image[:4], image[0x38:0x3C] = b"MZ\0\0", b"ARM\x64"
    assert inspect_kernel(written(tmp_path / "d", bytes(image))) == KernelFile("image", "6.6.1", "aarch64")


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 100, bytes(4096), make_elf(machine=3), make_elf(release="x"), make_bzimage(release="none")],
    ids=["empty", "short", "zeros", "32-bit", "no-banner", "no-release"],
)
def test_what_is_no_kernel_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(KernelError):
        inspect_kernel(written(tmp_path / "file", data))


def test_a_kernel_that_cannot_be_read_is_that_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be read: No such file"):
        inspect_kernel(tmp_path / "none")


@pytest.mark.parametrize("packer", PACKERS)
def test_the_elf_file_inside_is_taken_out(tmp_path: Path, packer: str) -> None:
    kernel = written(tmp_path / "vmlinuz", make_bzimage(PACKERS[packer](make_elf())))
    extract_vmlinux(kernel, tmp_path / "vmlinux")
    assert (tmp_path / "vmlinux").read_bytes() == make_elf()


def test_an_elf_file_is_copied(tmp_path: Path) -> None:
    extract_vmlinux(written(tmp_path / "in", make_elf()), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == make_elf()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x89LZO" + bytes(40), "compressed by lzo"),
        (b"something", "compressed by something unknown"),
        (gzip.compress(b"no ELF file"), "it is not an ELF file"),
        (lzma.compress(make_elf(), check=lzma.CHECK_CRC32)[:-90], "it ends too early"),
        (lz4_legacy(make_elf())[:4] + struct.pack("<I", 8) + b"\xff" * 8, "cannot be unpacked"),
        (b"", "something unknown"),
    ],
    ids=["lzo", "unknown", "no-elf", "cut-off", "damaged", "empty"],
)
def test_what_cannot_be_unpacked_leaves_nothing(tmp_path: Path, payload: bytes, reason: str) -> None:
    kernel = written(tmp_path / "vmlinuz", make_bzimage(payload))
    with pytest.raises(KernelError, match=reason):
        extract_vmlinux(kernel, tmp_path / "vmlinux")
    assert not (tmp_path / "vmlinux").exists()


def test_a_boot_protocol_without_a_payload_is_named(tmp_path: Path) -> None:
    kernel = written(tmp_path / "vmlinuz", make_bzimage(gzip.compress(make_elf()), protocol=0x204))
    with pytest.raises(KernelError, match=r"older than 2\.08"):
        extract_vmlinux(kernel, tmp_path / "vmlinux")
