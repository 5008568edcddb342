"""Bridges on paper that outlive daemons, as links do."""

from __future__ import annotations

import fcntl
import os
import pickle
from pathlib import Path
from typing import Any

from banger.helper.requests import Request
from banger.testing.privileged import FakePrivileged


class PaperPrivileged(FakePrivileged):
    """The fake of what only root may do, with what there is in a file: whoever reads it next finds it.

    :param file: where; made by the first request. It is replaced as a whole, so a kill leaves it as it was or is.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def call(self, request: Request) -> dict[str, Any]:
        with open(self._file.with_suffix(".lock"), "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel takes it from a process that is killed
            self.read()
            result = super().call(request)
            new = self._file.with_suffix(".new")
            new.write_bytes(pickle.dumps(self.bridges))
            os.replace(new, self._file)
        return result

    def read(self) -> None:
        """Take over what there is."""
        self.bridges = pickle.loads(self._file.read_bytes()) if self._file.exists() else {}

    def leaks(self, running: list[dict[str, Any]]) -> list[str]:
        """Return taps and ways out that belong to none of the VMs.

        :param running: the rows of those that run.
        """
        self.read()
        taps = {f"bgr-{vm['id'][:8]}" for vm in running}
        addresses = {vm["address"] for vm in running}
        found = [f"tap {tap}" for bridge in self.bridges.values() for tap in set(bridge.taps) - taps]
        return found + [
            f"way out of {guest}" for bridge in self.bridges.values() for guest in bridge.guests - addresses
        ]
