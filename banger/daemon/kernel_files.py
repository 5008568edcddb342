"""A kernel given as files of this machine, taken into the store."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from banger.daemon.context import OperationContext
from banger.daemon.publish import publish_kernel, staged
from banger.errors import UsageError
from banger.host.kernel_stage import stage_kernel
from banger.model.image import Kernel


@dataclass(frozen=True, slots=True)
class KernelFiles:
    """Absolute paths: the kernel, an initrd that is kept with it, the directory ``/lib/modules/<release>``."""

    kernel: Path
    initrd: Path | None = None
    modules: Path | None = None


def choose_kernel_files(
    kernel_ref: str | None, kernel: str | None, initrd: str | None, modules: str | None
) -> KernelFiles | None:
    """Return the files of a kernel that were named; None where none was.

    :raises UsageError: a kernel is named in both ways, or in half of one; a file cannot be read.
    """
    if kernel_ref and (kernel or initrd or modules):
        raise UsageError(
            "--kernel-ref goes with none of --kernel, --initrd and --modules", hint="name a kernel in one way"
        )
    if kernel is None:
        if initrd or modules:
            raise UsageError("--initrd and --modules belong to a kernel", hint="--kernel FILE as well")
        return None
    return KernelFiles(
        _check(kernel, "--kernel"),
        _check(initrd, "--initrd") if initrd else None,
        _check(modules, "--modules", directory=True) if modules else None,
    )


def take_kernel(op: OperationContext, files: KernelFiles, name: str) -> Kernel:
    """Copy a kernel's files into the store."""
    with staged(op, f"kernel {name}", "files") as pull:
        pulled = stage_kernel(
            pull.commands,
            pull.staging,
            files.kernel,
            initrd=files.initrd,
            modules=files.modules,
            arch=pull.arch,
        )
        if files.initrd is not None:
            text = f"{files.initrd.name} is kept; VMs boot with an initramfs of banger's own"
            op.event("notice", text=text)
        return publish_kernel(op, pull, name, f"register:{files.kernel}", pulled)


def _check(text: str, what: str, *, directory: bool = False) -> Path:
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise UsageError(f"{what} {text[:200]!r} is not an absolute path", hint=f"{what} /PATH")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError(f"{what} {path}: {error.strerror}", hint=f"ls -l {path}") from error
    if not (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
        raise UsageError(
            f"{what} {path} is not a {'directory' if directory else 'file'}", hint=f"ls -ld {path}"
        )
    if not os.access(path, os.R_OK):
        raise UsageError(f"{what} {path} cannot be read by you", hint=f"ls -ld {path}")
    return path
