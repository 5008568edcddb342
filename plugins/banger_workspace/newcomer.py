"""A repository for a VM that does not exist yet: it is made on the host and lies on the work disk as that is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from banger.api import Place, Progress
from banger_workspace.extend import WRAPPER
from banger_workspace.place import guest_of, locked, look
from banger_workspace.prepare import Import, bring, describe, read_repository
from banger_workspace.stage import stage_repository

if TYPE_CHECKING:
    from banger.api import Client
    from banger_workspace.tools import Tools

#: Where the work disk is mounted: only what is below it can be on it.
_HOME = "/root/"


class Newcomer:
    """One repository on its way into a new VM.

    :param tools: what is fetched for it once it is there.
    """

    def __init__(self, found: Import, tools: Tools | None = None) -> None:
        self._found, self._tools = found, tools
        #: The tree of all its files, once it was made.
        self.tree: str | None = None

    def stage(self, folder: Path) -> bool:
        """Make the repository below a directory that becomes ``/root``; false when it belongs elsewhere."""
        path = self._found.wanted.guest_path
        if not path.startswith(_HOME):
            return False
        progress = Progress()
        try:
            self.tree = stage_repository(
                self._found,
                os.path.join(folder, path.removeprefix(_HOME)),
                lambda stage: progress({"event": "stage", "stage": stage}),
            )
        finally:
            progress.end()
        return True

    def arrive(self, client: Client, vm: str, staged: bool) -> Place:
        """Remember what is on the disk; what is not goes through the channel. Then let tools be fetched."""
        place = self._arrive(client, vm, staged)
        if self._tools is not None:
            from banger_workspace.tools import fetch

            fetch(self._tools, client, vm, str(place.workdir))
        return place

    def _arrive(self, client: Client, vm: str, staged: bool) -> Place:
        found = self._found
        if not staged or self.tree is None:
            # Read once more: making the VM may have taken a while.
            return Place(bring(client, vm, read_repository(found.wanted))["guest_path"], WRAPPER)
        detail = look(client, vm)
        record = describe(found, self.tree)
        with locked(detail):
            guest_of(client, detail, record).ask("settle")
            client.call("vm.workspace.save", {"vm": detail["id"], "workspace": record})
        return Place(record["guest_path"], WRAPPER)
