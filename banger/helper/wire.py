"""The shape of requests and answers on the socket: HTTP/1.1 with a JSON body, one exchange per connection, bounded."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from banger.errors import HostError, UsageError

#: Bytes of the start line with all headers, and of a body.
HEAD_LIMIT, BODY_LIMIT = 4096, 128 * 1024
OP_ID = "banger-op-id"


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer: its first line, its headers with lower-case names, its body."""

    first: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON; UsageError when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise UsageError("the body is no JSON", hint="a JSON object") from error


def receive(connection: socket.socket, seconds: float) -> Message:
    """Read one message.

    :raises UsageError: it is malformed or too large. :raises HostError: the peer went away or was too slow.
    """
    deadline = time.monotonic() + seconds
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > HEAD_LIMIT:
            raise UsageError("the head is too large", hint=f"up to {HEAD_LIMIT} bytes")
        data += _some(connection, deadline)
    head, _, body = data.partition(b"\r\n\r\n")
    if len(head) > HEAD_LIMIT:
        raise UsageError("the head is too large", hint=f"up to {HEAD_LIMIT} bytes")
    first, headers = _parse_head(head)
    length = _length_of(headers)
    while len(body) < length:
        body += _some(connection, deadline)
    if len(body) > length:
        raise UsageError("there is more than one message", hint="one for each connection")
    return Message(first, headers, body)


def _some(connection: socket.socket, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    try:
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        data = connection.recv(65536)
    except OSError as error:
        what = "was too slow" if isinstance(error, TimeoutError) else "went away"
        raise HostError(f"the other end of the helper's socket {what}") from error
    if not data:
        raise HostError("the other end of the helper's socket went away")
    return data


def drain(connection: socket.socket, seconds: float) -> None:
    """Say that nothing more comes, and drop what the peer still sends, within bounds, until it closes."""
    deadline, left = time.monotonic() + seconds, BODY_LIMIT + HEAD_LIMIT
    connection.shutdown(socket.SHUT_WR)
    while left > 0 and (remaining := deadline - time.monotonic()) > 0:
        connection.settimeout(remaining)
        data = connection.recv(65536)
        if not data:
            return
        left -= len(data)


def _parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    try:
        first, *lines = head.decode("ascii").split("\r\n")
    except UnicodeDecodeError as error:
        raise UsageError("the head is not ASCII", hint="HTTP/1.1") from error
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name in headers or not name.replace("-", "a").isalnum():
            raise UsageError("the head is malformed", hint="HTTP/1.1, each header once")
        headers[name] = value.strip()
    return first, headers


def _length_of(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    if "transfer-encoding" in headers or not text.isdecimal() or len(text) > 6:
        raise UsageError("the length of the body is not given", hint="Content-Length, up to six digits")
    if int(text) > BODY_LIMIT:
        raise UsageError("the body is too large", hint=f"up to {BODY_LIMIT} bytes")
    return int(text)


def compose(first: str, body: Any, kind: str = "application/json", **headers: str) -> bytes:
    """Return a message's bytes."""
    content = json.dumps(body).encode()
    lines = [first, "Host: banger", f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("ascii") + content
