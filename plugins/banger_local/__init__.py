"""Images and kernels from this machine: registered, committed, exported and imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger.api import hookimpl

if TYPE_CHECKING:
    from banger.api import Command, Operation

#: name, one line of help, what is run
_COMMANDS = (
    ("image register", "use a root file system that is on this machine", "register"),
    ("image promote", "copy a registered image into the store", "promote"),
    ("image commit", "make an image of a VM's disks", "commit"),
    ("image seed", "renew what work disks begin with", "seed"),
    ("image export", "write an image and its kernel to a file", "export"),
    ("image import", "read an image from a file", "import_image"),
    ("kernel import", "take over a kernel that is on this machine", "import_kernel"),
)


@hookimpl
def banger_register_operations() -> list[Operation]:
    """Declare what the commands below ask for."""
    from banger_local.operations import OPERATIONS

    return list(OPERATIONS)


@hookimpl
def banger_register_commands() -> list[Command]:
    """Declare the commands."""
    from banger.api import Command

    return [Command(name, help, f"banger_local.commands:{target}") for name, help, target in _COMMANDS]
