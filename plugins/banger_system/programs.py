"""Programs that the helper launches for VMs, and that therefore nobody but root may change: which there are."""

from __future__ import annotations

import os
import re
from pathlib import Path

from banger.api import Commands
from banger_system.guard import find_writable

#: The variable that names a program, for the helper and for the plugin that it is for.
_VARIABLES = {"BANGER_FIRECRACKER": "firecracker", "BANGER_JAILER": "jailer"}
#: What a unit takes as it is.
_PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")


def find_programs(commands: Commands, uid: int = 0, top: Path = Path("/")) -> dict[str, str]:
    """Return variable and path of each, as they are installed now; nothing unless all are there and root's alone.

    What is not there yet, the helper finds on its own PATH once it is.

    :param uid: who stands for root. :param top: directories above this one are not looked at.
    """
    found = {}
    for variable, name in _VARIABLES.items():
        path = os.environ.get(variable) or commands.find(name)
        if path is None or not _PLAIN.fullmatch(path) or next(find_writable([Path(path)], uid, top), None):
            return {}
        found[variable] = path
    return found
