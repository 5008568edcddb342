from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.errors import ConflictError, StoreError
from banger.model.vm import VmState
from banger.store.database import Database
from banger.store.migrations import MIGRATIONS, migrate
from banger.testing.samples import CREATED, sample_digest, sample_image, sample_kernel, sample_vm


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "banger.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database(path)
    database.add_image(sample_image())
    database.add_kernel(sample_kernel())
    yield database
    database.close()


def test_what_was_written_is_read_by_the_next_process(path: Path, database: Database) -> None:
    vm = sample_vm("otter", address="127.64.1.2", spec={"publish": [{"guest": 80, "host": 8080}]})
    database.add_vm(vm)
    database.close()
    again = Database(path)
    assert again.vms() == [vm]
    assert again.vm(vm.id) == vm
    assert again.images() == [sample_image()] and again.kernels() == [sample_kernel()]
    again.close()


def test_vms_come_oldest_first(database: Database) -> None:
    for position, name in enumerate(("c", "a", "b")):
        database.add_vm(sample_vm(name, created_at=CREATED.replace(minute=59 - position)))
    assert [vm.name for vm in database.vms()] == ["b", "a", "c"]


def test_taken_vm_name_is_refused_by_name(database: Database) -> None:
    database.add_vm(sample_vm("otter"))
    with pytest.raises(ConflictError, match="'otter' exists") as caught:
        database.add_vm(sample_vm("otter", id="f" * 32))
    assert "banger vm delete otter" in (caught.value.hint or "")
    assert len(database.vms()) == 1


def test_taken_address_is_refused(database: Database) -> None:
    database.add_vm(sample_vm("a", address="127.64.0.1"))
    with pytest.raises(ConflictError, match="address changed meanwhile"):
        database.add_vm(sample_vm("b", address="127.64.0.1"))


def test_vm_of_an_image_that_was_deleted_meanwhile_is_refused(database: Database) -> None:
    with pytest.raises(ConflictError):
        database.add_vm(sample_vm("a", image=sample_digest("gone")))


@pytest.mark.parametrize("what", ["image", "kernel"])
def test_image_in_use_cannot_be_deleted_and_its_users_are_named(database: Database, what: str) -> None:
    database.add_vm(sample_vm("otter"))
    database.add_vm(sample_vm("badger"))
    digest = (sample_image() if what == "image" else sample_kernel()).digest
    delete = database.delete_image if what == "image" else database.delete_kernel
    with pytest.raises(ConflictError, match=f"the {what} is in use by badger, otter") as caught:
        delete(digest)
    assert caught.value.hint == "banger vm delete badger"
    for vm in database.vms():
        database.delete_vm(vm.id)
    delete(digest)
    assert [*database.images(), *database.kernels()] in ([sample_image()], [sample_kernel()])


def test_same_name_or_same_content_twice_is_refused(database: Database) -> None:
    with pytest.raises(ConflictError, match="test-image"):
        database.add_image(sample_image(digest=sample_digest("other")))
    with pytest.raises(ConflictError, match="same content"):
        database.add_kernel(sample_kernel("another", digest=sample_kernel().digest))


def test_update_changes_the_row_and_of_a_deleted_vm_nothing(database: Database) -> None:
    vm = sample_vm("otter")
    database.add_vm(vm)
    database.update_vm(vm.model_copy(update={"state": VmState.ERROR, "last_error": "no"}))
    stored = database.vm(vm.id)
    assert stored is not None and (stored.state, stored.last_error) == (VmState.ERROR, "no")
    database.delete_vm(vm.id)
    database.update_vm(vm)
    assert database.vms() == [] and database.vm(vm.id) is None


def test_handles_are_mirrored_in_the_row(database: Database) -> None:
    vm = sample_vm("otter")
    database.add_vm(vm)
    assert database.handles(vm.id) == {}
    database.set_handles(vm.id, {"version": 1, "sections": []})
    assert database.handles(vm.id) == {"version": 1, "sections": []}
    assert database.handles("0" * 32) == {}


def test_file_is_the_owners_alone(path: Path, database: Database) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_database_newer_than_the_program_is_refused_untouched(path: Path, database: Database) -> None:
    database.close()
    future = MIGRATIONS[-1][0] + 41
    with sqlite3.connect(path) as raw:
        raw.execute("INSERT INTO schema_migrations VALUES (?, 'from the future', 'then')", (future,))
    raw.close()
    with pytest.raises(StoreError, match=rf"newer than this banger.*migration {future}") as caught:
        Database(path)
    assert caught.value.hint == "pip install --upgrade banger"


def test_file_that_is_no_database_is_one_clear_error(path: Path) -> None:
    path.write_bytes(b"this is not a database, it is a letter" * 100)
    with pytest.raises(StoreError, match="cannot be used: file is not a database"):
        Database(path)


def test_directory_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used") as caught:
        Database(tmp_path / "missing" / "banger.db")
    assert caught.value.hint


def test_migrations_are_numbered_in_order_and_run_once(path: Path, database: Database) -> None:
    numbers = [number for number, _, _ in MIGRATIONS]
    assert numbers == sorted(set(numbers)) and numbers[0] == 1
    database.close()
    Database(path).close()
    raw = sqlite3.connect(path)
    assert [row[0] for row in raw.execute("SELECT id FROM schema_migrations")] == numbers
    raw.close()


def test_migration_that_fails_leaves_nothing_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    newest = MIGRATIONS[-1][0]
    statements = ("CREATE TABLE half (a TEXT) STRICT", "THIS IS NOT SQL")
    monkeypatch.setattr("banger.store.migrations.MIGRATIONS", (*MIGRATIONS, (newest + 1, "bad", statements)))
    with pytest.raises(sqlite3.Error):
        migrate(connection)
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert "half" not in tables and "vms" in tables
    assert connection.execute("SELECT max(id) FROM schema_migrations").fetchone() == (newest,)
    connection.close()
