"""Kernel files on paper: a bzImage that says which release it is, around whatever payload."""

from __future__ import annotations

import struct
from pathlib import Path

RELEASE = "6.1.0-9-paper"


def make_elf(release: str = RELEASE, machine: int = 62) -> bytes:
    """Return what passes for an uncompressed kernel."""
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, machine)
    return head + bytes(2048) + f"Linux version {release} (builder@paper) #1\0".encode() + bytes(2048)


def make_bzimage(payload: bytes = b"", release: str = RELEASE, protocol: int = 0x20F) -> bytes:
    """Return a bzImage with a payload, its setup part 2 sectors long and one for the boot sector."""
    setup = bytearray(3 * 512)
    setup[0x1F1] = 2
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, protocol)
    struct.pack_into("<H", setup, 0x20E, 0x400 - 0x200)
    struct.pack_into("<II", setup, 0x248, 64, len(payload))
    text = f"{release} (builder@paper) #1 SMP".encode() + b"\0"
    setup[0x400 : 0x400 + len(text)] = text
    return bytes(setup) + bytes(64) + payload + bytes(512)


def write_tree(directory: Path, release: str = RELEASE, kernel: bytes | None = None) -> Path:
    """Write what a distribution has of a kernel: boot/vmlinuz-*, its initramfs, and its modules."""
    (directory / "boot").mkdir(parents=True)
    (directory / "boot" / f"vmlinuz-{release}").write_bytes(kernel or make_bzimage(release=release))
    (directory / "boot" / f"initramfs-{release}.img").write_bytes(b"cpio")
    modules = directory / "lib" / "modules" / release
    (modules / "kernel").mkdir(parents=True)
    (modules / "kernel" / "virtio.ko.xz").write_bytes(b"a module")
    (modules / "modules.dep").write_text("kernel/virtio.ko.xz:\n")
    (modules / "modules.builtin").write_text("kernel/ext4.ko\n")
    (modules / "build").symlink_to("/usr/src/linux-headers")
    return directory
