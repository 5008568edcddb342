"""The port that a daemon answers at, noted where ``sudo banger dns install`` and the next daemon find it."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from banger.api import NotFoundError, find_state

_NAME = "port.json"
#: Bytes of a note that are read: root reads what a user wrote.
_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Note:
    """Where a daemon answers.

    :param wanted: the port that the settings named; another one is answered at when that was taken.
    """

    port: int
    wanted: int


def write_note(directory: Path, note: Note) -> None:
    """Replace the note in the plugin's directory."""
    new = directory / f"{_NAME}.new"
    new.write_text(json.dumps(asdict(note)))
    os.replace(new, directory / _NAME)


def find_note(directory: Path, uid: int) -> Note | None:
    """Return the note that a user's daemon left, None when there is none that is right.

    Only a plain file of that user's is read, and nothing of it but two numbers is used.
    """
    try:
        descriptor = os.open(directory / _NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != uid:
            return None
        try:
            content = json.loads(file.read(_LIMIT))
            port, wanted = content["port"], content["wanted"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
    right = all(type(number) is int and 1 <= number <= 65535 for number in (port, wanted))
    return Note(port, wanted) if right else None


def resolve_port(uid: int) -> int:
    """Return the port that a user's daemon noted last; NotFoundError when it never did."""
    note = find_note(find_state(uid) / "plugins" / "dns", uid)
    if note is None:
        raise NotFoundError(
            "this user's daemon has not noted its port yet, or keeps its state elsewhere (XDG_STATE_HOME)",
            hint="as that user: banger dns status; then say the port it shows: --port PORT",
        )
    return note.port
