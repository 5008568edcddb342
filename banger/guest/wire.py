"""The agent's wire protocol: frames, constants and limits (docs/reference/agent-protocol.md).

Pure and cheap to import: the command line speaks the same frames to the daemon.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from banger.errors import GuestError


class GuestFault(GuestError):
    """The guest broke the protocol: its agent never does, so something else speaks in its place."""


class GuestSilence(GuestError):
    """The guest does not answer, or does not read: it hangs, is very busy, or its agent was ended."""


VERSION = 1
#: Where the agent listens on a machine whose channel is vsock.
VSOCK_PORT = 5200
MAGIC = b"\x00BANGER\x1a\r\n\x93\xc5\x6e\xb1\x27\xd8"
NONCE_LENGTH = 16
HEADER = struct.Struct(">IIBBH")
END_MARK = b"\x00"
#: Longer than the longest frame: whatever was cut before it, a parser meets an invalid header inside it.
PREAMBLE = b"\xff" * 65600

MAX_PAYLOAD = 65536
MAX_STREAMS = 256
WINDOW = 256 * 1024
#: A DATA frame costs at least this much window, so that tiny frames cannot fill a queue.
MIN_COST = 64
#: Give credit back in steps of this.
GRANT = 64 * 1024
#: How much a host throws away at most while it looks for the answer to its HELLO.
RESYNC_LIMIT = 4 * 1024 * 1024
MAX_DEPTH = 32

HELLO = 1
OPEN = 2
RESULT = 3
ACCEPT = 4
DATA = 5
EOF = 6
CREDIT = 7
SIGNAL = 8
RESIZE = 9
EXIT = 10
ERROR = 11
CLOSE = 12
EVENT = 13

#: Flag of a CLOSE: a process on a terminal goes on, and what it prints is thrown away.
LEAVE = 1

STDIN = 0
STDOUT = 1
STDERR = 2

#: Frames after which the agent says nothing more on a stream.
FINAL = frozenset({RESULT, EXIT, ERROR})
#: What a guest may send on a stream.
FROM_GUEST = frozenset({RESULT, ACCEPT, DATA, EOF, CREDIT, EXIT, ERROR})
#: What a host may send on a stream.
FROM_HOST = frozenset({OPEN, DATA, EOF, CREDIT, SIGNAL, RESIZE, CLOSE})

_NAMES = {
    HELLO: "HELLO",
    OPEN: "OPEN",
    RESULT: "RESULT",
    ACCEPT: "ACCEPT",
    DATA: "DATA",
    EOF: "EOF",
    CREDIT: "CREDIT",
    SIGNAL: "SIGNAL",
    RESIZE: "RESIZE",
    EXIT: "EXIT",
    ERROR: "ERROR",
    CLOSE: "CLOSE",
    EVENT: "EVENT",
}
#: Types with a fixed payload length; DATA additionally must not be empty.
_FIXED = {EOF: 0, CREDIT: 4, SIGNAL: 1, RESIZE: 4, CLOSE: 0}


class Frame(NamedTuple):
    """One frame. ``flags`` is the channel number of DATA and EOF."""

    type: int
    stream: int
    flags: int = 0
    payload: bytes = b""

    @property
    def name(self) -> str:
        return _NAMES.get(self.type, str(self.type))

    @property
    def cost(self) -> int:
        """How much of the window a DATA frame uses."""
        return max(len(self.payload), MIN_COST)

    @property
    def credit(self) -> int:
        """The number in a CREDIT frame."""
        return int.from_bytes(self.payload, "big")

    def json(self) -> dict[str, Any]:
        """The JSON object in the payload."""
        return decode_json(self.payload)


def encode(frame: Frame) -> bytes:
    if len(frame.payload) > MAX_PAYLOAD:
        raise GuestError(f"a {frame.name} frame of {len(frame.payload)} bytes is too long to send")
    head = HEADER.pack(len(frame.payload), frame.stream, frame.type, frame.flags, 0)
    return head + frame.payload + END_MARK


def encode_json(value: Any) -> bytes:
    """Compact ASCII JSON; bytes that are not UTF-8 travel as ``surrogateescape`` left them."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def decode_json(payload: bytes) -> dict[str, Any]:
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise GuestFault("the guest agent sent something that is not JSON") from error
    if not isinstance(value, dict):
        raise GuestFault("the guest agent sent JSON that is not an object")
    return value


def clean_text(value: object, limit: int) -> str:
    """What a guest said, fit for messages and logs: at most ``limit`` printable characters, ``?`` for any other.

    Valid UTF-8 in particular: a lone surrogate is not printable. What is no string at all becomes the empty one.
    """
    if not isinstance(value, str):
        return ""
    return "".join(char if char.isprintable() else "?" for char in value[:limit])


def credit(stream: int, amount: int) -> Frame:
    return Frame(CREDIT, stream, 0, amount.to_bytes(4, "big"))


def signal(stream: int, number: int) -> Frame:
    return Frame(SIGNAL, stream, 0, bytes([number]))


def resize(stream: int, rows: int, cols: int) -> Frame:
    return Frame(RESIZE, stream, 0, struct.pack(">HH", min(rows, 65535), min(cols, 65535)))


def split_data(stream: int, channel: int, data: bytes) -> Iterator[Frame]:
    for start in range(0, len(data), MAX_PAYLOAD):
        yield Frame(DATA, stream, channel, data[start : start + MAX_PAYLOAD])


def hello(nonce: bytes) -> bytes:
    """What a host sends first on every connection: the preamble and a HELLO."""
    body = MAGIC + struct.pack(">I", VERSION) + nonce
    payload = body + struct.pack(">I", zlib.crc32(body))
    return PREAMBLE + encode(Frame(HELLO, 0, 0, payload))


def check_header(length: int, stream: int, kind: int, reserved: int, allowed: frozenset[int]) -> None:
    """Refuse a header that a well-behaved sender of the ``allowed`` types cannot have written."""
    if length > MAX_PAYLOAD or reserved:
        raise GuestFault("the guest agent sent a frame that breaks the protocol (length or reserved bits)")
    if (stream == 0) != (kind == EVENT) or (stream != 0 and kind not in allowed):
        name = _NAMES.get(kind, str(kind))
        raise GuestFault(f"the guest agent sent an unexpected {name} frame on stream {stream}")
    if _FIXED.get(kind, length) != length or (kind == DATA and length == 0):
        raise GuestFault(f"the guest agent sent a {_NAMES[kind]} frame of {length} bytes")


class Parser:
    """Frames from bytes as they come; any violation raises :class:`GuestError`.

    :param allowed: the types that may arrive on a stream other than 0.
    """

    def __init__(self, allowed: frozenset[int] = FROM_GUEST) -> None:
        self._allowed = allowed
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        at = 0
        with memoryview(self._buffer) as view:
            while len(view) - at >= HEADER.size:
                length, stream, kind, flags, reserved = HEADER.unpack_from(view, at)
                check_header(length, stream, kind, reserved, self._allowed)
                end = at + HEADER.size + length
                if len(view) <= end:
                    break
                if view[end] != END_MARK[0]:
                    raise GuestFault("the guest agent sent a frame without its end mark")
                frames.append(Frame(kind, stream, flags, bytes(view[at + HEADER.size : end])))
                at = end + 1
        del self._buffer[:at]
        return frames


class HelloFinder:
    """Throws bytes away until the agent's answer with our nonce; then gives its JSON and what came after it."""

    def __init__(self, nonce: bytes) -> None:
        self._marks = MAGIC, nonce
        self._buffer = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> tuple[dict[str, Any], int, bytes] | None:
        """Return ``(info, protocol version, rest)`` once the answer is whole."""
        self._buffer += data
        magic, nonce = self._marks
        at = self._buffer.find(nonce)
        if at < 0:
            self._drop(max(0, len(self._buffer) - HEADER.size - len(magic) - 4 - len(nonce)))
            return None
        start = at - 4 - len(magic) - HEADER.size
        if start < 0 or self._buffer[start + HEADER.size : at - 4] != magic:
            raise GuestFault("the guest agent answered HELLO in a form that makes no sense")
        length, stream, kind, _flags, reserved = HEADER.unpack_from(self._buffer, start)
        if length > MAX_PAYLOAD or stream or kind != HELLO or reserved:
            raise GuestFault("the guest agent answered HELLO with a broken frame")
        end = start + HEADER.size + length
        if len(self._buffer) <= end:
            return None
        info = decode_json(bytes(self._buffer[at + len(nonce) : end]))
        version = int.from_bytes(self._buffer[at - 4 : at], "big")
        return info, version, bytes(self._buffer[end + 1 :])

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._dropped += count
        if self._dropped > RESYNC_LIMIT:
            raise GuestFault("the guest agent did not answer HELLO within 4 MiB of other data")
