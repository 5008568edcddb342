"""Disks made into images: overlay and backing file put together, file systems checked and made small."""

from __future__ import annotations

import os
import re
from pathlib import Path

from banger.api import Commands, HostError, ImageError, failed_program

#: Seconds until a program is given up; they take as long as the content takes to read and write.
_TIMEOUT = 1800.0
#: Bits of e2fsck's exit status (e2fsck(8)): 1 mended, 2 mended and to be rebooted, 4 errors left, 8 and more: failed.
_ERRORS_LEFT = ~3
#: Blocks left free in a file system that was made small, 4 KiB each: what a guest writes before it has grown it.
_AIR_BLOCKS = 4096


def flatten_disk(commands: Commands, overlay: Path, target: Path) -> None:
    """Write what a qcow2 file and its backing file show together as one sparse raw file.

    :raises HostError: no space, or qemu-img failed.
    """
    line: list[str | Path] = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", overlay, target]
    try:
        commands.run(line, timeout=_TIMEOUT)
        os.chmod(target, 0o600)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def shrink_ext4(commands: Commands, image: Path) -> None:
    """Check an ext4 file that nobody uses, replaying its journal, and make it as small as its content, and some air.

    :raises ImageError: it is damaged beyond what e2fsck mends by itself.
    """
    done = commands.run(["e2fsck", "-f", "-p", image], timeout=_TIMEOUT, check=False)
    if done.status & _ERRORS_LEFT:
        said = done.stdout.decode(errors="replace").strip().splitlines()
        raise ImageError(
            f"the file system is damaged: {said[-1][:200] if said else f'e2fsck ended with {done.status}'}",
            hint="start the VM, and look at what it says: banger vm logs",
        )
    done = commands.run(["resize2fs", "-P", image], timeout=_TIMEOUT)
    found = re.search(rb"minimum size of the filesystem: (\d+)", done.stdout)
    if found is None:
        raise HostError("resize2fs does not say how small the file system can be")
    blocks = int(found[1]) + _AIR_BLOCKS
    if blocks * 4096 < image.stat().st_size:
        done = commands.run(["resize2fs", image, str(blocks)], timeout=_TIMEOUT, check=False)
        if done.status:
            raise failed_program(done)
        _truncate(image)


def _truncate(image: Path) -> None:
    """Cut an ext4 file off where its file system ends."""
    with open(image, "r+b") as file:
        file.seek(1024)
        superblock = file.read(1024)
        blocks = int.from_bytes(superblock[4:8], "little")
        if int.from_bytes(superblock[0x60:0x64], "little") & 0x80:  # INCOMPAT_64BIT
            blocks |= int.from_bytes(superblock[0x150:0x154], "little") << 32
        size = blocks * (1024 << int.from_bytes(superblock[0x18:0x1C], "little"))
        if size < os.fstat(file.fileno()).st_size:
            file.truncate(size)
