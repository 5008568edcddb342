"""The journal: a file of JSON lines that is added to, with one older one beside it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from banger.api import Vm, find_state

#: Bytes after which a new file is begun; two are kept.
_FILE_BYTES = 1024 * 1024
#: Bytes of a line that is read; what is longer was not written here.
_LINE_BYTES = 16 * 1024
#: Characters of an error, or the like, that are kept.
_FACT = 1000
#: Seconds between two looks at a journal that is followed.
_LOOK_SECONDS = 0.2


def journal() -> Path:
    """Return where the journal is."""
    return find_state(os.getuid()) / "events.jsonl"


def append(event: str, vm: Vm, **facts: str) -> None:
    """Add an event; one write, so that lines of several threads never mix.

    :param facts: what else there is to say: ``error``, ``endpoint``, ``guest``.
    """
    entry: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "vm": vm.name,
        "id": vm.id,
        "image": vm.image_name,
    }
    entry |= {key: text[:_FACT] for key, text in facts.items()}
    path = journal()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(file, json.dumps(entry).encode() + b"\n")
        full = os.fstat(file).st_size >= _FILE_BYTES
    finally:
        os.close(file)
    if full:
        path.replace(_older(path))


def read(*, follow: bool) -> Iterator[dict[str, Any]]:
    """Yield the events, oldest first; with ``follow`` those to come as well, for ever."""
    path = journal()
    yield from _lines(_older(path))
    while True:
        seen = yield from _read_file(path, follow=follow)
        if not follow or not seen:
            return


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _read_file(path: Path, *, follow: bool) -> Generator[dict[str, Any], None, bool]:
    """Yield a file's events until another takes its place; true when one did."""
    while not path.exists():
        if not follow:
            return False
        time.sleep(_LOOK_SECONDS)
    with open(path, "rb") as file:
        here = os.fstat(file.fileno()).st_ino
        while True:
            replaced = _inode(path) != here
            yield from _entries(file)
            if replaced:
                return True
            if not follow:
                return False
            time.sleep(_LOOK_SECONDS)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            yield from _entries(file)
    except FileNotFoundError:
        return


def _entries(file: Any) -> Iterator[dict[str, Any]]:
    """Yield whole lines; one that is no event, as after a crash of the host, is passed over."""
    while True:
        begin = file.tell()
        line = file.readline(_LINE_BYTES)
        if not line.endswith(b"\n") and len(line) < _LINE_BYTES:
            file.seek(begin)
            return
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and all(
            isinstance(entry.get(key), str) for key in ("time", "event", "vm")
        ):
            yield entry
