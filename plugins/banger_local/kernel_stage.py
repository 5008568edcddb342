"""Kernel, initrd and modules of this machine, copied to where they are published from."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from banger.api import Commands, HostError, KernelError, PulledKernel, copy_disk, inspect_kernel

#: Bounds on a kernel's modules; a distribution's have a few thousand files and some hundred MiB.
MAX_FILES, MAX_BYTES = 65536, 4 << 30
_DEPMOD_SECONDS = 300.0


def stage_kernel(
    commands: Commands,
    staging: Path,
    kernel: Path,
    *,
    initrd: Path | None = None,
    modules: Path | None = None,
    distro: str = "",
    arch: str,
) -> PulledKernel:
    """Copy a kernel's files below ``staging`` and index its modules where nobody has.

    :param modules: the directory that is ``/lib/modules/<release>``.
    :raises KernelError: no kernel, one for another architecture, or modules of another release.
    :raises HostError: a file cannot be read, or there is no space.
    """
    found = inspect_kernel(kernel)
    if found.arch != arch:
        raise KernelError(f"{kernel} is for {found.arch}, not for {arch}")
    copy_disk(kernel, staging / "vmlinuz")
    kept = None
    if initrd is not None:
        kept = staging / "initrd.img"
        copy_disk(initrd, kept)
    tree = None
    if modules is not None:
        if re.match(r"\d+\.", modules.name) and modules.name != found.release:
            raise KernelError(
                f"the modules are for {modules.name}, the kernel is {found.release}",
                hint="name the modules of this kernel, or leave them out if everything is built in",
            )
        tree = staging / "modules-of" / "lib" / "modules" / found.release
        tree.mkdir(parents=True)
        copy_modules(modules, tree)
        index_modules(commands, tree)
    return PulledKernel(staging / "vmlinuz", found.release, distro, tree, kept)


def copy_modules(source: Path, target: Path) -> None:
    """Copy the regular files and directories below ``source``; links (to headers, as a rule) are left out."""
    count = size = 0
    try:
        for parent, names, files in os.walk(source):
            place = target / Path(parent).relative_to(source)
            for name in names:
                if not Path(parent, name).is_symlink():
                    (place / name).mkdir(mode=0o755)
            for name in files:
                file = Path(parent, name)
                info = file.lstat()
                if not stat.S_ISREG(info.st_mode):
                    continue
                count, size = count + 1, size + info.st_size
                if count > MAX_FILES or size > MAX_BYTES:
                    raise KernelError(f"{source} holds more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB")
                copy_disk(file, place / name)
                (place / name).chmod(0o644)
    except OSError as error:
        raise HostError(f"{source} cannot be copied: {error.strerror}") from error


def index_modules(commands: Commands, tree: Path) -> None:
    """Make ``modules.dep`` and ``modules.builtin`` where they are missing.

    :param tree: ends in ``lib/modules/<release>``.
    """
    (tree / "modules.builtin").touch()
    if not (tree / "modules.dep").is_file():
        (tree / "modules.order").touch()
        commands.run(["depmod", "-b", tree.parents[2], tree.name], timeout=_DEPMOD_SECONDS)
