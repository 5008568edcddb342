"""What is lent to VMs, as settings, and the rules for its paths: stated here and nowhere else."""

from __future__ import annotations

import os
import posixpath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from banger.model.auth import AuthSync, Lent

#: The word that turns everything off for one VM.
NOTHING = "none"
_PATH_LIMIT, _NAME_LIMIT = 4096, 255
_HOME = "/root"


class Auth(BaseModel):
    """``[auth]``.

    :param sync: what every new VM is lent: names that `banger auth list` shows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sync: tuple[str, ...] = Field(default=(), max_length=64)


class FileSync(BaseModel):
    """``[[file_sync]]``: a file or directory that every VM is lent.

    :param host: `~/…` or absolute; a directory is copied with all that is in it.
    :param guest: under `~/` or `/root/`.
    :param mode: permission bits of a file in the guest, in octal; what is in a directory keeps its own.
    :param private_keys: private keys may be among it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    guest: str
    mode: str = Field(default="0600", pattern="^0?[0-7]{3}$")
    private_keys: bool = False

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        check_host_path(value)
        return value

    @field_validator("guest")
    @classmethod
    def _guest(cls, value: str) -> str:
        split_guest_path(value)
        return value

    @field_validator("mode", mode="before")
    @classmethod
    def _octal(cls, value: Any) -> Any:
        if isinstance(value, int):
            raise ValueError('must be text in octal, like "0600"')
        return value

    def lent(self) -> Lent:
        """Return it with its paths resolved for this user."""
        return Lent(
            f"file_sync {self.host}",
            os.path.expanduser(self.host),
            split_guest_path(self.guest),
            int(self.mode, 8),
            tree=True,
            private_keys=self.private_keys,
        )


def check_host_path(path: str, *, home: bool = False) -> None:
    """Raise ValueError unless this is ``~/…`` or, without ``home``, absolute, and goes nowhere else."""
    _check_text(path)
    if path.startswith("~") and not path.startswith("~/"):
        raise ValueError(f"must be your own file, not '{path[:60]}': write ~/…")
    if not path.startswith("~/" if home else ("~/", "/")):
        raise ValueError(f"must begin with ~/{'' if home else ' or /'}, not '{path[:60]}'")
    if ".." in path.split("/") or posixpath.normpath(path) in ("/", "~"):
        raise ValueError(f"must name something below a directory, without '..', not '{path[:60]}'")


def split_guest_path(path: str) -> tuple[str, ...]:
    """Return the names below ``/root`` that a guest's path has.

    :raises ValueError: it is elsewhere, or no such path.
    """
    _check_text(path)
    below = next((path[len(begin) :] for begin in ("~/", f"{_HOME}/") if path.startswith(begin)), None)
    if below is None:
        raise ValueError(f"must begin with ~/ or {_HOME}/, not '{path[:60]}'")
    names = tuple(name for name in below.split("/") if name)
    if not names or any(name in (".", "..") or len(os.fsencode(name)) > _NAME_LIMIT for name in names):
        raise ValueError(f"must name something below {_HOME}, without '..', not '{path[:60]}'")
    return names


def _check_text(path: str) -> None:
    if not path or len(path) > _PATH_LIMIT or not path.isprintable():
        raise ValueError("must be a path of 1 to 4096 printable characters")


def lent_auth(entry: AuthSync) -> Lent:
    """Return what a plugin offers with its paths resolved for this user.

    :raises ValueError: a path breaks the rules.
    """
    check_host_path(entry.host_path, home=True)
    guest = split_guest_path(entry.guest_path)
    if entry.name == NOTHING or entry.mode & ~0o777:
        raise ValueError(f"may neither be called '{NOTHING}' nor have a mode beyond 0777")
    host = os.path.expanduser(entry.host_path)
    return Lent(f"auth '{entry.name}'", host, guest, entry.mode, entry.read, entry.keep)
