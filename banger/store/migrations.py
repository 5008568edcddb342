"""The database's schema, as ordered steps. Forward only; a step that landed never changes."""

from __future__ import annotations

import sqlite3

from banger.errors import StoreError

#: (number, name, statements). Each runs in a transaction of its own.
MIGRATIONS: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (
        1,
        "baseline",
        (
            """CREATE TABLE images (
                digest TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL) STRICT""",
            """CREATE TABLE kernels (
                digest TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL) STRICT""",
            """CREATE TABLE vms (
                id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, address TEXT UNIQUE,
                image TEXT NOT NULL REFERENCES images(digest), kernel TEXT NOT NULL REFERENCES kernels(digest),
                record TEXT NOT NULL, handles TEXT NOT NULL DEFAULT '{}') STRICT""",
        ),
    ),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest schema; StoreError when it is newer than this program."""
    connection.execute(
        """CREATE TABLE IF NOT EXISTS schema_migrations (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT"""
    )
    done = {row[0] for row in connection.execute("SELECT id FROM schema_migrations")}
    newest = MIGRATIONS[-1][0]
    if done and max(done) > newest:
        raise StoreError(
            f"the database is newer than this banger: it has migration {max(done)}, this program knows {newest}",
            hint="pip install --upgrade banger",
        )
    for number, name, statements in MIGRATIONS:
        if number not in done:
            _apply(connection, number, name, statements)


def _apply(connection: sqlite3.Connection, number: int, name: str, statements: tuple[str, ...]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            connection.execute(statement)
        connection.execute("INSERT INTO schema_migrations VALUES (?, ?, datetime('now'))", (number, name))
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
