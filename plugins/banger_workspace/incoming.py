"""Objects on their way into the host's repository: kept apart until git has found nothing wrong with them.

``git fetch`` alone would put a pack in its place before all of it is checked, and a second fetch would find the objects
there and check nothing. ``git receive-pack`` has such a quarantine; this is the same for a fetch.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from banger.api import HostError, UsageError
from banger_workspace.git import Git, quote_path

#: The index comes last: with it a pack is there.
_PARTS = (".pack", ".rev", ".idx")


class Incoming:
    """A directory for objects that nobody else sees."""

    def __init__(self, objects: Path, place: Path) -> None:
        self._objects, self._place = objects, place

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which git writes objects here, and reads the repository's as well."""
        return {
            "GIT_OBJECT_DIRECTORY": str(self._place),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": quote_path(str(self._objects)),
        }

    def admit(self) -> None:
        """Move the packs into the repository."""
        packs = sorted((self._place / "pack").glob("pack-*.pack"))
        (self._objects / "pack").mkdir(exist_ok=True)
        for pack in packs:
            for part in (pack.with_suffix(suffix) for suffix in _PARTS):
                if part.exists():
                    part.replace(self._objects / "pack" / part.name)


@contextmanager
def open_incoming(git: Git) -> Iterator[Incoming]:
    """Make the directory, beside the repository's objects and named as git names its own; gone afterwards."""
    folder = git.text("rev-parse", "--path-format=absolute", "--git-path", "objects")
    if folder is None:
        raise UsageError("the repository has no place for objects", hint=f"git -C {git.directory} fsck")
    try:
        place = Path(tempfile.mkdtemp(prefix="tmp_objdir-banger-", dir=folder))
    except OSError as error:
        raise HostError(
            f"{folder} cannot be written: {error.strerror}", hint="check its owner and free space"
        ) from None
    try:
        yield Incoming(Path(folder), place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
