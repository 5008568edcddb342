"""Disk images: ext4 files and copy-on-write overlays, made without mounting anything and without root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from banger.host.command import Commands


class Disks(Protocol):
    """The seam to e2fsprogs and qemu-img."""

    def make_ext4(
        self, path: Path, size_mib: int, *, uuid: str, label: str, content: Path | None = None, lazy: bool = True
    ) -> None:
        """Make a sparse ext4 file; ``content``'s files become its root directory, owned by 0:0 in the guest.

        For content that has other owners, the image source makes the file itself, in a user namespace.
        :raises HostError: no space, or mke2fs failed.
        """

    def make_overlay(self, path: Path, backing: Path, size_mib: int) -> None:
        """Make a qcow2 file of ``size_mib`` over ``backing``, a raw file that must not change afterwards."""

    def read_file(self, image: Path, path: str) -> bytes:
        """Return the content of a regular file inside an ext4 file; HostError when it is not there."""

    def read_uuid(self, image: Path) -> str:
        """Return the UUID in an ext4 file's superblock; HostError when it is not ext4."""
