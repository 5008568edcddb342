"""Files and directories as a row of records, the same in both directions (docs/reference/agent-protocol.md).

Pure and cheap to import. What a guest sends is not trusted: every length is bounded, every name is one name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from banger.errors import GuestError

#: type, reserved, length of the name, number, time, size.
HEADER = struct.Struct(">BBHIqQ")
NAME_LIMIT, TARGET_LIMIT, REASON_LIMIT = 255, 4095, 1000
CHUNK = 256 * 1024
#: Directories in each other; the agent has the same limit.
DEPTH = 128

DIRECTORY, FILE, DATA, END, LINK, SKIPPED, DONE = b"DFCELXZ"

_PAYLOAD = {DATA: CHUNK, LINK: TARGET_LIMIT, SKIPPED: REASON_LIMIT}
_NAMED = frozenset({DIRECTORY, FILE, LINK, SKIPPED})


class Record(NamedTuple):
    """One record.

    :param number: mode of a directory or file, 1 at the end of a file that could not be read.
    :param time: of modification, nanoseconds since 1970; of DATA the offset.
    :param size: bytes, of a file about, at its end exactly.
    """

    type: int
    name: bytes = b""
    number: int = 0
    time: int = 0
    size: int = 0
    payload: bytes | memoryview = b""


def encode(record: Record) -> bytes:
    """Return a record's bytes."""
    number = len(record.payload) if record.type in _PAYLOAD else record.number
    head = HEADER.pack(record.type, 0, len(record.name), number, record.time, record.size)
    return b"".join((head, record.name, record.payload))


class Parser:
    """Records from bytes as they come; GuestError when they make no sense."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._depth = 0
        self._in_file = False
        self._begun = self.finished = False

    def feed(self, data: bytes) -> Iterator[Record]:
        """Yield what is whole now."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= HEADER.size:
            kind, _, name_length, number, time, size = HEADER.unpack_from(self._buffer, at)
            payload = number if kind in _PAYLOAD else 0
            self._check_lengths(kind, name_length, payload)
            begin = at + HEADER.size
            end = begin + name_length + payload
            if len(self._buffer) < end:
                break
            name = bytes(self._buffer[begin : begin + name_length])
            record = Record(kind, name, number, time, size, bytes(self._buffer[begin + name_length : end]))
            self._check(record)
            at = end
            yield record
        del self._buffer[:at]

    def _check_lengths(self, kind: int, name_length: int, payload: int) -> None:
        known = kind in _NAMED or kind in (DATA, END, DONE)
        if (
            not known
            or name_length > (NAME_LIMIT if kind in _NAMED else 0)
            or payload > _PAYLOAD.get(kind, 0)
        ):
            raise _broken()

    def _check(self, record: Record) -> None:
        kind, was_in_file = record.type, self._in_file
        of_file = kind == DATA or (kind == END and was_in_file)
        if self.finished or was_in_file != of_file:
            raise _broken()
        if kind in (DIRECTORY, FILE, LINK):
            self._check_place(record.name)
        if kind == DATA and not 0 <= record.time <= 2**63 - 1 - len(record.payload):
            raise _broken()
        self._in_file = kind in (FILE, DATA)
        self._depth += (kind == DIRECTORY) - (kind == END and not was_in_file)
        self.finished = kind == DONE
        if not 0 <= self._depth <= DEPTH or (self.finished and self._depth):
            raise _broken()

    def _check_place(self, name: bytes) -> None:
        """Refuse a second root, and what is no name in a directory."""
        if self._begun if self._depth == 0 else not is_name(name):
            raise _broken()
        self._begun = True


def is_name(name: bytes) -> bool:
    """Tell whether this names something in a directory, and nothing elsewhere."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


def _broken() -> GuestError:
    return GuestError(
        "the guest sent files in a form that makes no sense", hint="what arrived before is whole"
    )
