"""A store that is locked, read-only or damaged: one clear error, and nothing is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.errors import StoreError
from banger.store import database as module
from banger.store.database import Database
from banger.testing.samples import sample_image, sample_kernel, sample_vm


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "banger.db"
    filled = Database(path)
    filled.add_image(sample_image())
    filled.add_kernel(sample_kernel())
    for number in range(50):
        filled.add_vm(sample_vm(f"vm-{number}"))
    filled.close()
    return path


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database(path)
    yield database
    database.close()


def test_a_locked_store_is_said_and_goes_on_afterwards(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY_MS", 50)
    database = Database(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked") as caught:
        database.delete_vm(sample_vm("vm-1").id)
    assert "another program holds it" in str(caught.value.hint)
    assert len(database.vms()) == 50
    other.execute("ROLLBACK")
    other.close()
    database.delete_vm(sample_vm("vm-1").id)
    assert len(database.vms()) == 49
    database.close()


def test_a_store_that_cannot_be_written_is_said_and_can_be_read(database: Database) -> None:
    database._connection.execute("PRAGMA query_only=ON")
    with pytest.raises(StoreError, match="readonly") as caught:
        database.delete_vm(sample_vm("vm-1").id)
    assert "permissions" in str(caught.value.hint)
    assert len(database.vms()) == 50


@pytest.mark.parametrize(("start", "length"), [(0, 100), (4096, 20_000)])
def test_of_a_damaged_store_a_copy_is_kept_and_named(path: Path, start: int, length: int) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[start : start + length] = b"\xa5" * length
    path.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be used") as caught:
            Database(path).vms()
    [copy] = path.parent.glob("banger.db.damaged-*")
    assert copy.read_bytes() == damaged
    assert copy.stat().st_mode & 0o777 == 0o600
    assert f"a copy is kept at {copy}" in str(caught.value)
    assert f"rm {path}" in str(caught.value.hint)
