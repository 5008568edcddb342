"""Files between this host and a VM, for programs: what cannot be copied is raised, and nothing is printed."""

from __future__ import annotations

import os

from banger.cli.client import Client
from banger.cli.cp import Copy, Place
from banger.errors import GuestError


class QuietCopy(Copy):
    """One copy; what was left out is kept for the error that is raised at its end."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, None, True)
        self._left_out: list[str] = []

    def into(self, vm: str, source: str | os.PathLike[str], target: str) -> None:
        """Copy from this host into a VM."""
        self._check(self.send(os.fspath(source), Place(vm, target)))

    def out_of(self, vm: str, source: str, target: str | os.PathLike[str]) -> None:
        """Copy out of a VM to this host."""
        self._check(self.fetch(Place(vm, source), os.fspath(target)))

    def _check(self, status: int) -> None:
        if status or self._left_out:
            first = self._left_out[0] if self._left_out else "the guest does not say why"
            raise GuestError(
                f"not all of it was copied: {first}", hint=f"{max(1, len(self._left_out))} left out"
            )

    def _complain(self, path: str, why: str) -> None:
        self._left_out.append(f"{path}: {why}")

    def _complain_guest(self, line: str) -> None:
        self._left_out.append(f"in the guest: {line}")
