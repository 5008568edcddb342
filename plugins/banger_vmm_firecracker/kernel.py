"""The kernel as an ELF file: Firecracker, before 1.17, boots nothing else."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from banger.api import extract_vmlinux

_ELF = b"\x7fELF"


def find_elf(kernel: Path, cache: Path) -> Path:
    """Return a kernel as an ELF file: itself, or what is unpacked from it, kept in ``cache`` for the next start.

    :raises KernelError: there is none in it, or it cannot be unpacked.
    """
    with open(kernel, "rb") as file:
        if file.read(4) == _ELF:
            return kernel
        info = os.fstat(file.fileno())
    kept = cache / "vmlinux" / f"{info.st_dev:x}-{info.st_ino}-{info.st_size}-{info.st_mtime_ns}"
    if not kept.exists():
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        making = kept.with_name(f".{kept.name}.{secrets.token_hex(4)}")
        try:
            extract_vmlinux(kernel, making)
            making.rename(kept)
        finally:
            making.unlink(missing_ok=True)
    return kept
