"""Taking over a kernel that is on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger.api import UsageError
from banger_local.discovery import discover_kernel
from banger_local.kernel_stage import stage_kernel
from banger_local.register import check_file

if TYPE_CHECKING:
    from banger.api import Kernel, OperationContext, PullContext, PulledKernel
    from banger_local.operations import KernelImportParams


def import_directory(op: OperationContext, params: KernelImportParams) -> Kernel:
    """Copy a directory's kernel into the store."""
    name = op.store.check_free(params.name, "kernel")
    directory = check_file(params.directory, "--from", directory=True)
    with op.staging(f"kernel {name}", "local") as pull:
        pull.progress("looking", str(directory))
        files = discover_kernel(directory)
        pull.progress("copying", str(files.kernel))
        pull.arch = params.arch or files.arch or pull.arch
        pulled = stage_kernel(
            pull.commands,
            pull.staging,
            files.kernel,
            initrd=files.initrd,
            modules=files.modules,
            distro=params.distro if params.distro is not None else files.distro,
            arch=pull.arch,
        )
        if files.initrd is not None:
            text = f"{files.initrd.name} is kept; VMs boot with an initramfs of banger's own"
            op.event("notice", text=text)
        return op.publish_kernel(pull, name, f"import:{directory}", pulled)


def name_files(reference: str) -> str:
    """Return the name of a kernel by its file: the file's own.

    :param reference: an absolute path; in lines after it that of an initrd and that of the modules, or nothing.
    """
    import re

    path = reference.partition("\n")[0]
    if not path.startswith("/") or "\0" in reference or reference.count("\n") > 2:
        raise UsageError(f"--kernel {path[:200]!r} is not an absolute path", hint="--kernel /PATH")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.rpartition("/")[2]).lstrip("._-")[:120]
    if not name:
        raise UsageError(f"--kernel {path[:200]!r} names no kernel", hint="name a file")
    return name


def pull_files(reference: str, ctx: PullContext) -> PulledKernel:
    """Copy a kernel's files."""
    name_files(reference)
    kernel, initrd, modules = (reference + "\n\n").split("\n")[:3]
    return stage_kernel(
        ctx.commands,
        ctx.staging,
        check_file(kernel, "--kernel"),
        initrd=check_file(initrd, "--initrd") if initrd else None,
        modules=check_file(modules, "--modules", directory=True) if modules else None,
        arch=ctx.arch,
    )
