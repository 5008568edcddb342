"""The guest's half of a workspace: what is asked of it, and what is believed of its answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from banger.api import ConflictError, Ended, GuestError, NotFoundError, run_piped
from banger_workspace.record import OID

if TYPE_CHECKING:
    from banger.api import Client, Progress

_SCRIPT = (Path(__file__).parent / "guest.sh").read_text()
_STATES = ("absent", "foreign", "partial", "clean", "changed", "broken")
#: What git and tar say where a disk is full.
_FULL = (b"No space left on device", b"Wrote only", b"Disk quota exceeded")
#: Exit statuses of guest.sh with a meaning of their own.
_NO_GIT, _GONE, _NO_BASE = 90, 91, 92


class Guest:
    """One VM's workspace at one path."""

    def __init__(self, client: Client, vm: str, name: str, path: str) -> None:
        self.client, self.vm, self.name, self.path = client, vm, name, path

    def ask(
        self,
        what: str,
        *arguments: str,
        input: Iterable[bytes] = (),
        take: Callable[[bytes], object] | None = None,
        limit: int = 1024 * 1024,
    ) -> bytes:
        """Run a part of guest.sh and return what it printed.

        :raises GuestError: it failed; the message has the last line it said.
        """
        argv = ("/bin/sh", "-c", _SCRIPT, "workspace", what, self.path, *arguments)
        ended = run_piped(self.client, self.vm, argv, input=input, take=take, limit=limit)
        if ended.status != 0:
            raise self._failed(what, ended)
        return ended.stdout

    def _failed(self, what: str, ended: Ended) -> Exception:
        if ended.status == _NO_GIT:
            return ConflictError(
                f"the image of '{self.name}' has no git",
                hint=f"banger vm exec {self.name} -- apt-get install -y git, or an image that has it",
            )
        if ended.status == _GONE:
            return NotFoundError(ended.said, hint=f"banger vm workspace prepare {self.name} PATH")
        if ended.status == _NO_BASE:
            return NotFoundError(ended.said, hint=f"banger vm exec {self.name} -- git log --oneline")
        if any(sign in ended.stderr for sign in _FULL):
            return self._full()
        doing = {
            "receive": "take the commit",
            "fill": "put the files in place",
            "refill": "put the files in place",
            "state": "look at its workspace",
            "begin": "make room for the repository",
            "changes": "compare its files",
            "branches": "list its branches",
            "settle": "make the repository ready",
        }
        return GuestError(
            f"the guest could not {doing.get(what, what)}: {ended.said}", hint=f"banger vm exec {self.name}"
        )

    def state(self, head: str | None, branch: str, tree: str) -> str:
        """Return what is at the path: absent, foreign, partial, clean, changed or broken."""
        return self._state(self.ask("state", head or "none", branch, tree))

    def refill(
        self, head: str | None, branch: str, tree: str, arguments: tuple[str, ...], files: Iterable[bytes]
    ) -> tuple[str, str | None]:
        """Put files in place where the path is clean; return its state, and the tree it has then.

        :param arguments: guest.sh's of ``fill``, after HOW. :param files: read as far as they are wanted.
        """
        answer = self.ask("refill", head or "none", branch, tree, *arguments, input=files)
        there = answer.decode(errors="replace").strip()
        return ("clean", self.oid(answer)) if there not in _STATES else (self._state(answer), None)

    def _state(self, answer: bytes) -> str:
        said = answer.decode(errors="replace").strip()
        if said not in _STATES:
            raise GuestError(
                "the guest said nothing sensible about its workspace", hint=f"banger vm exec {self.name}"
            )
        return said

    def send(self, folder: str, parent: str, name: str, progress: Progress) -> None:
        """Copy a directory of this host into the guest's directory ``parent``, as ``name``.

        :raises GuestError: not all of it arrived.
        """
        from banger.api import send_directory

        complaints = send_directory(self.client, self.vm, folder, parent, name, progress)
        if any("No space left" in line or "Disk quota" in line for line in complaints):
            raise self._full()
        if complaints:
            raise GuestError(
                f"the guest could not take the repository: {complaints[0]}",
                hint=f"banger vm exec {self.name}",
            )

    def _full(self) -> GuestError:
        return GuestError(
            f"the disk of '{self.name}' is full",
            hint=f"banger vm exec {self.name} -- df -h; or a larger --disk-size",
        )

    def oid(self, said: bytes) -> str:
        """Return an object's id that the guest printed."""
        text = said.decode(errors="replace").strip()
        if re.match(OID, text) is None:
            raise GuestError("the guest named no tree for its workspace", hint=f"banger vm exec {self.name}")
        return text
