"""Credentials a user may lend a VM, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuthSync:
    """A file of the user's that may be copied into a VM, only when chosen.

    :param host_path: absolute or ``~/…``.
    :param guest_path: under ``/root`` or ``~/``.
    :param mode: permission bits in the guest.
    """

    name: str
    host_path: str
    guest_path: str
    mode: int = 0o600
