"""The SQLite database. One connection under one lock: every call is a few milliseconds at most."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from banger.errors import ConflictError, StoreError
from banger.model.image import Image, Kernel
from banger.model.vm import Vm
from banger.store.migrations import migrate

log = logging.getLogger(__name__)
Record = TypeVar("Record", bound=BaseModel)

#: Milliseconds SQLite waits for another process's lock (a person with sqlite3 open).
_BUSY_MS = 5000


def _is_damage(error: Exception) -> bool:
    return "malformed" in str(error) or "not a database" in str(error)


def _keep_copy(path: Path) -> str:
    """Copy a damaged file beside itself, once for each content, before anything mends or removes it; say where."""
    try:
        content = path.read_bytes()
        copy = path.with_name(f"{path.name}.damaged-{hashlib.sha256(content).hexdigest()[:8]}")
        if not copy.exists():
            with open(copy, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(content)
    except OSError as error:
        return f"; no copy of it could be made: {error.strerror}"
    return f"; a copy is kept at {copy}"


def _hint(error: Exception, path: Path) -> str:
    if _is_damage(error):
        return f"banger daemon stop; rm {path}; VMs and images it knew are kept where they are"
    if "locked" in str(error):
        return "another program holds it, perhaps sqlite3: end that, then try again"
    return "check free space (df) and the permissions of the state directory"


class Database:
    """Rows of VMs, images and kernels.

    :raises StoreError: from every method, when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._damaged: set[tuple[str, str]] = set()
        with self._translated():
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            for pragma in (
                "journal_mode=WAL",
                "foreign_keys=ON",
                f"busy_timeout={_BUSY_MS}",
                "synchronous=NORMAL",
            ):
                self._connection.execute(f"PRAGMA {pragma}")
            path.chmod(0o600)
            migrate(self._connection)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.IntegrityError:
                raise
            except (sqlite3.Error, OSError) as error:
                copied = _keep_copy(self._path) if _is_damage(error) else ""
                raise StoreError(
                    f"the database {self._path} cannot be used: {error}{copied}",
                    hint=_hint(error, self._path),
                ) from error

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._translated():
            return self._connection.execute(query, values).fetchall()

    def _write(self, query: str, *values: Any) -> int:
        with self._translated():
            return self._connection.execute(query, values).rowcount

    def _records(self, table: str, model: type[Record], column: str = "1", value: Any = 1) -> list[Record]:
        """Return a table's records by name; a damaged one is left out, and said once."""
        found = []
        query = f"SELECT name, record FROM {table} WHERE {column} = ? ORDER BY name"  # noqa: S608
        for name, text in self._rows(query, value):
            try:
                found.append(model.model_validate_json(text))
            except ValidationError as error:
                if (table, name) not in self._damaged:
                    self._damaged.add((table, name))
                    log.error(
                        "the record of '%s' in %s is damaged: %s", name, table, error.errors()[0]["msg"]
                    )
        return found

    def has_damage(self) -> bool:
        """Tell whether a record was found damaged: what it refers to is not known."""
        return bool(self._damaged)

    def damaged(self, table: str, name: str) -> bool:
        """Tell whether the record of this name in ``vms``, ``images`` or ``kernels`` cannot be read."""
        return (table, name) in self._damaged

    # VMs

    def vms(self) -> list[Vm]:
        """Return every VM, oldest first."""
        return sorted(self._records("vms", Vm), key=lambda vm: (vm.created_at, vm.name))

    def vm(self, vm_id: str) -> Vm | None:
        """Return one VM by its whole id."""
        return next(iter(self._records("vms", Vm, "id", vm_id)), None)

    def add_vm(self, vm: Vm) -> None:
        """Insert a VM; ConflictError when the name is taken, or its image or kernel has just been deleted."""
        values = (vm.id, vm.name, vm.address, vm.image, vm.kernel, vm.model_dump_json())
        try:
            self._write(
                "INSERT INTO vms (id, name, address, image, kernel, record) VALUES (?, ?, ?, ?, ?, ?)",
                *values,
            )
        except sqlite3.IntegrityError as error:
            if "vms.name" in str(error):
                raise ConflictError(
                    f"a VM called '{vm.name}' exists",
                    hint=f"choose another name or: banger vm delete {vm.name}",
                ) from error
            raise ConflictError("its image, kernel or address changed meanwhile", hint="try again") from error

    def update_vm(self, vm: Vm) -> None:
        """Write a VM's row; nothing happens when it is gone."""
        self._write(
            "UPDATE vms SET name = ?, address = ?, record = ? WHERE id = ?",
            vm.name,
            vm.address,
            vm.model_dump_json(),
            vm.id,
        )

    def delete_vm(self, vm_id: str) -> None:
        """Delete a VM's row, if it is there."""
        self._write("DELETE FROM vms WHERE id = ?", vm_id)

    def handles(self, vm_id: str) -> dict[str, Any]:
        """Return the mirror of a VM's ``handles.json``: what teardown falls back on when the file is lost."""
        rows = self._rows("SELECT handles FROM vms WHERE id = ?", vm_id)
        try:
            value = json.loads(rows[0][0]) if rows else {}
        except ValueError:
            value = {}
        return value if isinstance(value, dict) else {}

    def set_handles(self, vm_id: str, handles: dict[str, Any]) -> None:
        """Mirror a VM's ``handles.json``."""
        self._write("UPDATE vms SET handles = ? WHERE id = ?", json.dumps(handles, sort_keys=True), vm_id)

    # Images and kernels

    def images(self) -> list[Image]:
        """Return every image, by name."""
        return self._records("images", Image)

    def kernels(self) -> list[Kernel]:
        """Return every kernel, by name."""
        return self._records("kernels", Kernel)

    def add_image(self, image: Image) -> None:
        """Insert an image; ConflictError when its name or content is there already."""
        self._add("images", image.digest, image.name, image)

    def add_kernel(self, kernel: Kernel) -> None:
        """Insert a kernel; ConflictError when its name or content is there already."""
        self._add("kernels", kernel.digest, kernel.name, kernel)

    def _add(self, table: str, digest: str, name: str, record: BaseModel) -> None:
        try:
            self._write(f"INSERT INTO {table} VALUES (?, ?, ?)", digest, name, record.model_dump_json())  # noqa: S608
        except sqlite3.IntegrityError as error:
            what = table.removesuffix("s")
            raise ConflictError(
                f"the {what} '{name}' exists, or another name has the same content",
                hint=f"see: banger {what} list",
            ) from error

    def rename_kernel(self, kernel: Kernel, name: str) -> None:
        """Give a kernel another name; ConflictError when that is taken."""
        record = kernel.model_copy(update={"name": name}).model_dump_json()
        try:
            self._write(
                "UPDATE kernels SET name = ?, record = ? WHERE digest = ?", name, record, kernel.digest
            )
        except sqlite3.IntegrityError as error:
            raise ConflictError(f"a kernel called '{name}' exists", hint="see: banger kernel list") from error

    def update_image(self, image: Image) -> None:
        """Write an image's record; its name and digest do not change."""
        self._write("UPDATE images SET record = ? WHERE digest = ?", image.model_dump_json(), image.digest)

    def delete_image(self, digest: str) -> None:
        """Delete an image's row; ConflictError while a VM is pinned to it."""
        self._delete("images", digest)

    def delete_kernel(self, digest: str) -> None:
        """Delete a kernel's row; ConflictError while a VM is pinned to it."""
        self._delete("kernels", digest)

    def _delete(self, table: str, digest: str) -> None:
        try:
            self._write(f"DELETE FROM {table} WHERE digest = ?", digest)  # noqa: S608
        except sqlite3.IntegrityError as error:
            what = table.removesuffix("s")
            column = self._rows(f"SELECT name FROM vms WHERE {what} = ? ORDER BY name", digest)  # noqa: S608
            names = ", ".join(row[0] for row in column) or "a VM"
            raise ConflictError(
                f"the {what} is in use by {names}",
                hint=f"banger vm delete {column[0][0] if column else 'VM'}",
            ) from error
