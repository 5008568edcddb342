"""What ``banger system install`` wrote down: whose the daemon of this host is. Cheap to import, like its neighbour."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from banger.errors import ConfigError

#: Written by root; who may not read it has no part in it.
INSTALL = Path("/etc/banger/install.toml")
#: Bytes of it that are read.
_LIMIT = 4096
_HINT = 'sudo "$(command -v banger)" system install --owner USER writes it again'


@dataclass(frozen=True, slots=True)
class Install:
    """An installation.

    :param uid: the owner's, whom the daemon runs as.
    :param version: banger's.
    """

    owner: str
    uid: int
    version: str
    commit: str


def find_install(file: Path = INSTALL, root: int = 0) -> Install | None:
    """Return what is installed on this host; None when nothing is, or nobody may know.

    :param root: whose the file has to be.
    :raises ConfigError: the file is not root's alone, or not as it was written.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", hint=_HINT) from error
    import tomllib

    with open(descriptor, "rb") as opened:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != root or info.st_mode & 0o022:
            raise ConfigError(f"{file} can be written by others than root", hint=f"look at it: ls -l {file}")
        try:
            content = tomllib.loads(opened.read(_LIMIT).decode())
            found = Install(content["owner"], content["uid"], content["version"], content["commit"])
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{file} is not as it was written", hint=_HINT) from error
    if type(found.uid) is not int or not all(
        isinstance(text, str) for text in (found.owner, found.version, found.commit)
    ):
        raise ConfigError(f"{file} is not as it was written", hint=_HINT)
    return found
