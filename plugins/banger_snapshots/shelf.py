"""Where a VM's snapshots are: ``snapshots/NAME`` in its directory, each with a description and copies of its disks.

One is put there by a single rename, and taken away by one: it is whole or not there.
"""

from __future__ import annotations

import contextlib
import os
import re
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from banger.api import ConflictError, NotFoundError, UsageError, allocated_bytes, clean_text

#: Of a VM's directory, and of a snapshot.
FOLDER, DESCRIPTION = "snapshots", "snapshot.json"
#: Bytes of a description, and characters of the label that names a VM's snapshots.
_DESCRIPTION_LIMIT, _LABEL = 65536, 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


class Snapshot(BaseModel):
    """A snapshot.

    ``running``: whether the VM ran when it was made. ``disks``: their sizes in bytes as the guest sees files of them,
    by name. ``bytes``: what it takes on the host's disk, holes left out; blocks that it shares with others count here
    as well.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    created_at: datetime
    running: bool
    disks: dict[str, int]
    bytes: int = 0


def check_name(name: str) -> str:
    """Return a snapshot's name, or raise UsageError: 1 to 63 letters, digits, ``.``, ``_`` and ``-``."""
    if not _NAME.match(name):
        raise UsageError(
            f"'{clean_text(name, 80)}' is no name of a snapshot",
            hint="use 1 to 63 letters, digits, '.', '_' and '-', a letter or digit first",
        )
    return name


class Shelf:
    """The snapshots of one VM.

    :param directory: of the VM. :param vm: its name, for people.
    """

    def __init__(self, directory: Path, vm: str) -> None:
        self._directory, self._vm = directory, vm
        self.folder = directory / FOLDER

    def names(self) -> list[str]:
        """Return what there is, by name."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(entry.name for entry in os.scandir(self.folder) if _NAME.match(entry.name))
        return []

    def snapshots(self) -> list[Snapshot]:
        """Return those that can be read, oldest first."""
        found = []
        for name in self.names():
            with contextlib.suppress(NotFoundError, ConflictError):  # it goes just now; or delete it by name
                found.append(self.read(name))
        return sorted(found, key=lambda snapshot: (snapshot.created_at, snapshot.name))

    def read(self, name: str) -> Snapshot:
        """Return one snapshot.

        :raises NotFoundError: there is none of that name. :raises ConflictError: its description is damaged.
        """
        place = self.resolve(name)
        try:
            with open(place / DESCRIPTION, "rb") as file:
                snapshot = Snapshot.model_validate_json(file.read(_DESCRIPTION_LIMIT))
            return snapshot.model_copy(update={"name": name, "bytes": allocated_bytes(place)})
        except FileNotFoundError:
            if not place.is_dir():
                raise self._unknown(name) from None
            raise self._damaged(name) from None
        except (OSError, ValidationError) as error:
            raise self._damaged(name) from error

    def resolve(self, name: str) -> Path:
        """Return the directory of a snapshot that is there."""
        place = self.folder / check_name(name)
        if not place.is_dir():
            raise self._unknown(name)
        return place

    def check_new(self, name: str | None, limit: int) -> str:
        """Return the name of a new snapshot, one that is free where none is given.

        :raises ConflictError: it is taken, or there are as many as there may be.
        """
        names = self.names()
        if name is not None and check_name(name) in names:
            raise ConflictError(
                f"'{self._vm}' has a snapshot '{name}'", hint=f"banger vm snapshot delete {self._vm} {name}"
            )
        if len(names) >= limit:
            raise ConflictError(
                f"'{self._vm}' has {len(names)} snapshots, as many as it may",
                hint=f"banger vm snapshot delete {self._vm} {names[0]}, or: [plugins.snapshots] limit",
            )
        numbers = (f"snapshot-{number}" for number in range(1, len(names) + 2))
        return name or next(number for number in numbers if number not in names)

    def put(self, made: Path, name: str) -> None:
        """Take in a snapshot that is complete and on the disk."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        made.rename(self.folder / name)
        sync(self.folder)
        self.write_label()

    def take(self, name: str, target: Path) -> None:
        """Take one off, for whoever owns ``target`` to remove."""
        self.resolve(name).rename(target)
        sync(self.folder)
        with contextlib.suppress(OSError):  # others are there
            self.folder.rmdir()
        self.write_label()

    def write_label(self) -> None:
        """Let ``vm show`` name the snapshots there are."""
        names, file = self.names(), self._directory / "labels" / "snapshots"
        if not names:
            file.unlink(missing_ok=True)
            return
        text = f"{len(names)}: {', '.join(names)}"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        new = file.with_name(".snapshots")
        new.write_text(text if len(text) <= _LABEL else f"{text[: _LABEL - 2]} …")
        new.replace(file)

    def _unknown(self, name: str) -> NotFoundError:
        known = ", ".join(self.names()[:8])
        hint = f"there are: {known}" if known else f"banger vm snapshot create {self._vm}"
        return NotFoundError(f"'{self._vm}' has no snapshot '{name}'", hint=hint)

    def _damaged(self, name: str) -> ConflictError:
        return ConflictError(
            f"the snapshot '{name}' of '{self._vm}' is damaged",
            hint=f"banger vm snapshot delete {self._vm} {name}",
        )


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the host's disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
