"""``newuidmap`` and ``newgidmap`` for the daemon alone, with the one capability that each needs.

The host's are set-uid, and would need CAP_DAC_OVERRIDE and CAP_SYS_ADMIN within the daemon's bounds, and with them
every other program that is set-uid. Copies with a capability of the file's (capabilities(7)) need that one only.
"""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

from banger.api import Commands, HostError

#: From linux/capability.h.
_CAPABILITIES = {"newgidmap": 6, "newuidmap": 7}
#: struct vfs_cap_data: revision 2, effective; permitted and inheritable, low and high words.
_FORMAT, _MAGIC = "<5I", 0x02000001
_ATTRIBUTE = "security.capability"


def make_tools(target: Path, commands: Commands) -> None:
    """Copy what is installed of them into a new directory."""
    target.mkdir()
    target.chmod(0o755)
    for name, capability in _CAPABILITIES.items():
        found = commands.find(name)
        if found is None or not Path(found).is_file():
            continue  # only builds of images need it, and say so
        copy = target / name
        shutil.copyfile(found, copy)
        copy.chmod(0o755)
        try:
            os.setxattr(copy, _ATTRIBUTE, struct.pack(_FORMAT, _MAGIC, 1 << capability, 0, 0, 0))
        except OSError as error:
            raise HostError(
                f"{copy} cannot be given a capability: {error.strerror}",
                hint="its file system has to keep extended attributes",
            ) from error


def find_stale(target: Path, commands: Commands) -> list[str]:
    """Return the names of those that the host has in another version, or has got meanwhile."""
    stale = []
    for name in _CAPABILITIES:
        found, copy = commands.find(name), target / name
        if found is not None and (not copy.exists() or copy.read_bytes() != Path(found).read_bytes()):
            stale.append(name)
    return stale
