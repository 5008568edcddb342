"""Files a user may lend a VM, as values."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from banger.host.command import Commands


@dataclass(frozen=True, slots=True)
class AuthSync:
    """A file of the user's that may be copied into a VM, only when chosen.

    :param host_path: ``~/…``.
    :param guest_path: under ``/root`` or ``~/``.
    :param mode: permission bits in the guest.
    :param read: returns what is lent where that is no file, None when there is nothing; gets the host's programs.
        ``host_path`` then says where it comes from.
    :param keep: what the guest has stays, whoever wrote it; else it stays when it is newer than the host's.
    """

    name: str
    host_path: str
    guest_path: str
    mode: int = 0o600
    read: Callable[[Commands], bytes | None] | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Lent:
    """One thing that is lent to a VM, its paths checked.

    :param label: what messages call it.
    :param host: absolute.
    :param guest: names below ``/root``.
    :param read: :param keep: as in :class:`AuthSync`.
    :param tree: a directory may stand at ``host``; then what is in it is lent, with its own modes.
    :param private_keys: private keys may be among it.
    """

    label: str
    host: str
    guest: tuple[str, ...]
    mode: int = 0o600
    read: Callable[[Commands], bytes | None] | None = None
    keep: bool = False
    tree: bool = False
    private_keys: bool = False

    @property
    def shown(self) -> str:
        """The host's path as people write it."""
        home = os.path.expanduser("~/")
        return f"~/{self.host.removeprefix(home)}" if self.host.startswith(home) else self.host
