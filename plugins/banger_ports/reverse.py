"""A socket in a guest whose connections lead to this host. Its messages are a guest's: bounded, and looked at."""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
from contextlib import suppress
from typing import Any, Self

from banger.api import BangerError, Client, GuestError, Pipe, clean, open_stream, say

#: A message: a connection's number and a length (docs/reference/agent-protocol.md, ``listen``).
_HEAD, _PIECE, _CONNECTIONS = struct.Struct(">II"), 64 * 1024, 16
#: Pieces that wait for a host's program which does not take them, after which its connection ends.
_WAITING = 64
_UNBOUNDED, _FOREVER = 2**62, 10.0**9


class Back:
    """One such socket, as long as the block lasts.

    :param there: its path in the guest. :param here: a port of 127.0.0.1, or a path. :param ended: set when it ended.
    """

    def __init__(self, client: Client, vm: str, there: str, here: int | str, ended: threading.Event) -> None:
        self._here, self._ended = here, ended
        answer = client.call("vm.listen.open", {"vm": vm, "path": there})
        self._stream = open_stream(answer["socket"], answer["token"])
        self._read, self._write = os.pipe2(os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._input = bytearray()
        self._open: dict[int, queue.Queue[bytes]] = {}

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            Pipe(self._stream, self._read, self.feed, _UNBOUNDED, _FOREVER).run()
        except BangerError as error:
            if not self._ended.is_set():
                say(clean(error.message))
        except OSError:
            pass  # the block is over
        finally:
            self._ended.set()

    def feed(self, data: bytes) -> None:
        """Take what the guest's end sent. :raises GuestError: it makes no sense, or is too much."""
        self._input += data
        while len(self._input) >= _HEAD.size:
            number, size = _HEAD.unpack_from(self._input)
            if size > _PIECE:
                raise GuestError("what the guest's socket sent makes no sense", hint="banger vm list")
            if len(self._input) < _HEAD.size + size:
                return
            piece = bytes(self._input[_HEAD.size : _HEAD.size + size])
            del self._input[: _HEAD.size + size]
            self._take(number, piece)

    def _take(self, number: int, piece: bytes) -> None:
        waiting = self._open.get(number)
        if waiting is None:
            if not piece:
                return
            if len(self._open) >= _CONNECTIONS:
                raise GuestError("the guest's socket has more connections than it may", hint="banger vm list")
            waiting = self._open[number] = queue.Queue(_WAITING)
            threading.Thread(target=self._serve, args=(number, waiting), daemon=True).start()
        try:
            waiting.put_nowait(piece)
        except queue.Full:
            self._end(number)
        if not piece:
            self._open.pop(number, None)

    def _serve(self, number: int, waiting: queue.Queue[bytes]) -> None:
        """Connect here for one of the guest's connections, and pass on what comes, to its end."""
        family = socket.AF_INET if isinstance(self._here, int) else socket.AF_UNIX
        target: Any = ("127.0.0.1", self._here) if isinstance(self._here, int) else self._here
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            try:
                connection.connect(target)
                threading.Thread(target=self._answer, args=(number, connection), daemon=True).start()
                while piece := waiting.get():
                    connection.sendall(piece)
                with suppress(OSError):  # both ends may have ended at once
                    connection.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                say(clean(f"{self._here} here: {error.strerror or error}"))
                self._end(number)

    def _answer(self, number: int, connection: socket.socket) -> None:
        with suppress(OSError):
            while data := connection.recv(_PIECE):
                self._post(number, data)
        self._end(number)

    def _end(self, number: int) -> None:
        waiting = self._open.pop(number, None)
        if waiting is not None:
            with suppress(queue.Full):
                waiting.put_nowait(b"")
            self._post(number, b"")

    def _post(self, number: int, data: bytes) -> None:
        message = memoryview(_HEAD.pack(number, len(data)) + data)
        with self._lock, suppress(OSError):
            while message:
                message = message[os.write(self._write, message) :]
