"""The caller's ssh agent, lent to one VM while a command runs there: listing and signing, with chosen keys.

The guest's end is a socket of the guest's agent; each of its connections comes here as messages with a number. What a
guest sends is bounded and looked at; nothing but two kinds of requests ever reaches the caller's agent.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from banger.cli.pipe import Pipe
from banger.errors import BangerError, GuestError, HostError, NotFoundError
from banger.guest import wire

if TYPE_CHECKING:
    from banger.cli.client import Client

#: draft-ietf-sshm-ssh-agent, section 6.1.
_FAILURE, _LIST, _KEYS, _SIGN = 5, 11, 12, 13
#: OpenSSH's own limit of a message, bytes (AGENT_MAX_LEN), and how many keys are looked at.
_MESSAGE, _KEYS_LIMIT = 256 * 1024, 256
#: Seconds the caller's agent gets: a person may have to touch a key.
_PATIENCE = 120.0
#: A message of the guest's end: a connection's number and a length. Bytes of one, and connections at once.
_HEAD, _PIECE, _CONNECTIONS = struct.Struct(">II"), 64 * 1024, 16
_FAILED = bytes((_FAILURE,))
#: A forwarded agent may be there as long as a command runs: seconds of silence, and bytes.
_FOREVER, _UNBOUNDED = 10.0**9, 2**62


class Key(NamedTuple):
    """A public key of an agent, as the agent spells it."""

    blob: bytes
    comment: bytes

    @property
    def fingerprint(self) -> str:
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"SHA256:{digest}"


class HostAgent:
    """The caller's own agent."""

    def __init__(self, path: str) -> None:
        self._path = path

    def ask(self, request: bytes) -> bytes:
        """Return the answer to one request. :raises HostError: it is not there, or does not answer sensibly."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_PATIENCE)
                connection.connect(self._path)
                connection.sendall(len(request).to_bytes(4, "big") + request)
                size = int.from_bytes(_read_exactly(connection, 4), "big")
                if not 0 < size <= _MESSAGE:
                    raise HostError("your ssh agent's answer makes no sense", hint="ssh-add -l")
                return _read_exactly(connection, size)
        except OSError as error:
            raise HostError(
                f"your ssh agent does not answer: {error.strerror or error}",
                hint="start one: eval $(ssh-agent)",
            ) from None

    def keys(self) -> list[Key]:
        """Return the keys it has."""
        answer = self.ask(bytes((_LIST,)))
        if answer[:1] != bytes((_KEYS,)):
            raise HostError("your ssh agent lists no keys", hint="ssh-add -l")
        try:
            return list(_parse_keys(answer))
        except (ValueError, struct.error):
            raise HostError("your ssh agent's list of keys makes no sense", hint="ssh-add -l") from None


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError(104, "it hung up")
        data += piece
    return bytes(data)


def _parse_keys(answer: bytes) -> Iterator[Key]:
    (count,) = struct.unpack_from(">I", answer, 1)
    at = 5
    for _ in range(min(count, _KEYS_LIMIT)):
        blob, at = _string(answer, at)
        comment, at = _string(answer, at)
        yield Key(blob, comment)


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    (size,) = struct.unpack_from(">I", data, at)
    end = at + 4 + size
    if end > len(data):
        raise ValueError("a string longer than its message")
    return data[at + 4 : end], end


def _packed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def choose_keys(agent: HostAgent, wanted: tuple[str, ...]) -> tuple[Key, ...]:
    """Return the keys of an agent that are meant by fingerprint or comment; all when none is named.

    :raises NotFoundError: it has no such key.
    """
    there = agent.keys()
    if not wanted:
        return tuple(there)
    chosen: dict[bytes, Key] = {}
    for name in wanted:
        found = [key for key in there if name in (key.fingerprint, os.fsdecode(key.comment))]
        if not found:
            raise NotFoundError(f"your ssh agent has no key '{name[:100]}'", hint="what it has: ssh-add -l")
        chosen |= {key.blob: key for key in found}
    return tuple(chosen.values())


class Filter:
    """What of a guest's requests is answered.

    :param keys: those that it may see and use. The list is made here, so comments of others never leave.
    """

    def __init__(self, agent: HostAgent, keys: tuple[Key, ...]) -> None:
        self._agent = agent
        self._keys = {key.blob: key for key in keys}

    def answer(self, request: bytes) -> bytes:
        """Return the answer to one message of a guest's."""
        if request == bytes((_LIST,)):
            listed = b"".join(_packed(key.blob) + _packed(key.comment) for key in self._keys.values())
            return bytes((_KEYS,)) + len(self._keys).to_bytes(4, "big") + listed
        if request[:1] != bytes((_SIGN,)):
            return _FAILED
        try:
            blob, _ = _string(request, 1)
        except (ValueError, struct.error):
            return _FAILED
        if blob not in self._keys:
            return _FAILED
        try:
            return self._agent.ask(request)
        except HostError:
            return _FAILED


class Switchboard:
    """The guest's connections, by number: bytes in, answers out.

    :param send: takes bytes for the guest; raises BlockingIOError when there is no room.
    """

    def __init__(self, filter_: Filter, send: int) -> None:
        self._filter, self._send = filter_, send
        self._input = bytearray()
        self._open: dict[int, bytearray] = {}

    def feed(self, data: bytes) -> None:
        """Take what the guest's end sent. :raises GuestError: it makes no sense, or is too much."""
        self._input += data
        while len(self._input) >= _HEAD.size:
            number, size = _HEAD.unpack_from(self._input)
            if size > _PIECE:
                raise GuestError(
                    "what the guest's ssh agent socket sent makes no sense", hint="banger vm list"
                )
            if len(self._input) < _HEAD.size + size:
                return
            piece = bytes(self._input[_HEAD.size : _HEAD.size + size])
            del self._input[: _HEAD.size + size]
            self._take(number, piece)

    def _take(self, number: int, piece: bytes) -> None:
        if not piece:
            self._open.pop(number, None)
            return
        if number not in self._open and len(self._open) >= _CONNECTIONS:
            raise GuestError(
                "the guest's ssh agent socket has more connections than it may", hint="banger vm list"
            )
        waiting = self._open.setdefault(number, bytearray())
        waiting += piece
        while len(waiting) >= 4:
            size = int.from_bytes(waiting[:4], "big")
            if not 0 < size <= _MESSAGE:
                del self._open[number]
                self._post(number, b"")
                return
            if len(waiting) < 4 + size:
                return
            request = bytes(waiting[4 : 4 + size])
            del waiting[: 4 + size]
            self._post(number, _packed(self._filter.answer(request)))

    def _post(self, number: int, answer: bytes) -> None:
        pieces = [answer[at : at + _PIECE] for at in range(0, len(answer), _PIECE)] or [b""]
        data = b"".join(_HEAD.pack(number, len(piece)) + piece for piece in pieces)
        try:
            sent = os.write(self._send, data)
        except BlockingIOError:
            sent = 0
        if sent != len(data):
            raise GuestError(
                "the guest asks its ssh agent faster than it takes the answers", hint="banger vm list"
            )


class _Forward(Pipe):
    """The stream of the guest's socket."""

    def __init__(self, connection: socket.socket, answers: int, board: Switchboard) -> None:
        super().__init__(connection, answers, board.feed, _UNBOUNDED, _FOREVER)
        self.settled = threading.Event()
        self.problem: BangerError | None = None

    def serve(self) -> None:
        """Answer until the stream ends; in a thread of its own."""
        try:
            self.run()
        except BangerError as error:
            self.problem = error
        except OSError as error:
            self.problem = GuestError(f"the ssh agent's stream broke: {error}")
        finally:
            self.settled.set()

    def _handle(self, frame: wire.Frame) -> int | None:
        status = super()._handle(frame)
        if frame.type == wire.ACCEPT:
            self.settled.set()
        return status


def find_agent() -> HostAgent:
    """Return the caller's agent. :raises HostError: there is none."""
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        raise HostError("--ssh-agent: no ssh agent runs here", hint="start one: eval $(ssh-agent) && ssh-add")
    return HostAgent(path)


@contextmanager
def forwarded(client: Client, vm: str, agent: HostAgent, keys: tuple[Key, ...]) -> Iterator[dict[str, str]]:
    """Lend the agent to a VM as long as the block lasts; yields the variable that tells its programs where.

    :raises GuestError: the guest did not open its socket.
    """
    from banger.cli.terminal import open_stream

    path = f"/run/banger/ssh-agent.{secrets.token_hex(8)}"
    answer = client.call("vm.listen.open", {"vm": vm, "path": path})
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(write, False)
    with open_stream(answer["socket"], answer["token"]) as connection:
        forward = _Forward(connection, read, Switchboard(Filter(agent, keys), write))
        thread = threading.Thread(target=forward.serve, name="ssh-agent", daemon=True)
        thread.start()
        try:
            if not forward.settled.wait(30):
                raise GuestError(
                    "the guest did not open its ssh agent socket within 30 s", hint=f"banger vm show {vm}"
                )
            if forward.problem is not None:
                raise forward.problem
            yield {"SSH_AUTH_SOCK": path}
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for descriptor in (read, write):
                os.close(descriptor)
