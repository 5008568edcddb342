"""The seam to what only root may do: bridges, taps, firewall rules. One list of requests, two ways."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from banger.errors import HostError, error_from_problem
from banger.helper.requests import Request, fields_of
from banger.helper.wire import OP_ID, compose, receive
from banger.host.caller import current_op

#: Where an installed helper listens.
HELPER_SOCKET = Path("/run/bangerd-root/helper.sock")
#: Seconds for an answer: an operation is milliseconds, but others may be before it.
_ANSWER_SECONDS = 60.0
#: Seconds that a helper gets which is installed and does not answer: it is being started again.
_RESTART_SECONDS = 10.0


class Privileged(Protocol):
    """The seam."""

    def find(self) -> str | None:
        """Return how requests are done: by the ``helper`` installed, by this ``process``; None for not at all."""

    def call(self, request: Request) -> dict[str, Any]:
        """Have a request done and return its result.

        :raises HostError: nobody here may do it. :raises BangerError: it was refused, or failed.
        """


#: Operations look before they change something: one at a time, as in the helper.
_LOCK = threading.Lock()


class HostPrivileged:
    """:class:`Privileged` on the real host: by the helper's socket where there is one, else by root's own process.

    :param path: the helper's socket.
    """

    def __init__(self, path: Path = HELPER_SOCKET) -> None:
        self._path = path

    def find(self) -> str | None:
        if os.access(self._path, os.R_OK | os.W_OK):
            return "helper"
        return "process" if os.geteuid() == 0 and not self._path.exists() else None

    def call(self, request: Request) -> dict[str, Any]:
        how = self.find()
        if how is None:
            raise HostError(
                "bridges and taps need root, and no root helper answers this user",
                hint='sudo "$(command -v banger)" system install --owner "$USER"; without root: --net user',
            )
        if how == "helper":
            return self._ask(request)
        from banger.helper.operations import carry_out

        with _LOCK:
            return carry_out(request, os.geteuid())

    def _ask(self, request: Request) -> dict[str, Any]:
        first = f"POST /v1/{request.operation} HTTP/1.1"
        message = compose(first, fields_of(request), **{OP_ID: current_op.get()})
        with self._connect() as connection:
            try:
                connection.sendall(message)
            except OSError as error:
                raise HostError(f"the root helper went away: {error.strerror}", hint=_HINT) from error
            answer = receive(connection, _ANSWER_SECONDS)
        body = answer.json()
        if not isinstance(body, dict):
            raise HostError("the root helper answers something else than JSON objects", hint=_HINT)
        if answer.first.split()[1:2] != ["200"]:
            raise error_from_problem(body)
        return body

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + _RESTART_SECONDS
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                connection.settimeout(_ANSWER_SECONDS)
                connection.connect(os.fspath(self._path))
                return connection
            except OSError as error:
                connection.close()
                refused = isinstance(error, ConnectionRefusedError | FileNotFoundError | BlockingIOError)
                if not refused or time.monotonic() > deadline:
                    raise HostError(
                        f"the root helper does not answer: {error.strerror}", hint=_HINT
                    ) from error
            time.sleep(0.05)


_HINT = "see: systemctl status bangerd-root"
