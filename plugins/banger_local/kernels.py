"""Taking over a kernel that is on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_local.discovery import discover_kernel
from banger_local.kernel_stage import stage_kernel
from banger_local.register import check_file

if TYPE_CHECKING:
    from banger.api import Kernel, OperationContext
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
