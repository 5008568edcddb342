"""The helper's socket: one caller at a time, known by uid; every call is one line of JSON in the log."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from banger.errors import BangerError, HostError, UsageError
from banger.helper.operations import carry_out
from banger.helper.requests import fields_of, parse_request
from banger.helper.wire import OP_ID, compose, drain, receive

#: Seconds a caller gets to say what it wants, and to take the answer.
PATIENCE = 5.0
#: Seconds that the rest of a call which is refused is read and dropped: closed at once, it would take the answer along.
_DRAIN_SECONDS = 1.0
#: Callers that may wait.
_BACKLOG = 32


@dataclass(slots=True)
class Call:
    """One call, as the log has it."""

    uid: int
    pid: int
    operation: str = "-"
    op_id: str = "-"
    fields: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    detail: str = ""


class Server:
    """Answers calls of root and of the owner, one after the other.

    :param owner: the owner's uid. :param log: where lines of JSON go. :param patience: seconds for a caller.
    """

    def __init__(self, owner: int, log: IO[str] = sys.stderr, patience: float = PATIENCE) -> None:
        self._owner, self._log, self._patience = owner, log, patience
        self._busy = self._ending = False

    def serve(self, listener: socket.socket) -> None:
        """Answer calls until :meth:`end`."""
        while not self._ending:
            connection, _ = listener.accept()
            self._busy = True
            with connection:
                self.answer(connection)
            self._busy = False

    def end(self) -> None:
        """End ``serve``, from a signal handler: at once, or after the call that it is at."""
        self._ending = True
        if not self._busy:
            raise SystemExit(0)

    def answer(self, connection: socket.socket) -> None:
        """Answer one call, whatever it says; never raises for what a caller did."""
        began = time.monotonic()
        pid, uid, _ = struct.unpack(
            "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        )
        call = Call(uid, pid)
        try:
            result: dict[str, Any] = self._carry_out(connection, call)
        except Exception as error:
            known = (
                error if isinstance(error, BangerError) else HostError(f"a fault in the helper: {error!r}")
            )
            known.op_id = call.op_id
            result = known.to_problem()
            call.status, call.detail = int(result["status"]), known.message
        self._note(call, time.monotonic() - began)
        kind = "application/json" if call.status == 200 else "application/problem+json"
        first = f"HTTP/1.1 {call.status} {'OK' if call.status == 200 else 'Refused'}"
        try:
            connection.settimeout(self._patience)
            connection.sendall(compose(first, result, kind, Banger_Op_Id=call.op_id))
            drain(connection, _DRAIN_SECONDS)
        except OSError:
            pass  # the caller is gone; what it asked for was done, and is in the log

    def _carry_out(self, connection: socket.socket, call: Call) -> dict[str, Any]:
        if call.uid not in (0, self._owner):
            refusal = HostError(
                f"user {call.uid} is not the owner", hint="banger's user mode needs no helper"
            )
            refusal.status = 403
            raise refusal
        message = receive(connection, self._patience)
        call.op_id = _op_id_of(message.headers.get(OP_ID, "-"))
        found = re.fullmatch(r"POST /v1/([a-z.]{1,40}) HTTP/1\.1", message.first)
        if found is None:
            raise UsageError("this is no call of an operation", hint="POST /v1/OPERATION HTTP/1.1")
        call.operation = found[1]
        request = parse_request(found[1], message.json())
        call.fields = fields_of(request)
        return carry_out(request, self._owner)

    def _note(self, call: Call, seconds: float) -> None:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "op": call.operation,
            "op_id": call.op_id,
            "uid": call.uid,
            "pid": call.pid,
            "ms": round(seconds * 1000, 1),
            "status": call.status,
        }
        if call.detail:
            line["detail"] = call.detail
        print(
            json.dumps({**line, **({"fields": call.fields} if call.fields else {})}),
            file=self._log,
            flush=True,
        )


def _op_id_of(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text) else "-"


def bind(path: Path, owner: int) -> socket.socket:
    """Return a listening socket that the owner and root may connect to, in the place of an old one.

    :raises HostError: the directory is not there, or anybody but root may write in it.
    """
    try:
        info = path.parent.stat()
    except OSError as error:
        raise HostError(f"{path.parent}: {error.strerror}", hint=f"sudo mkdir {path.parent}") from error
    if info.st_uid != os.geteuid() or (info.st_mode & 0o022 and not info.st_mode & 0o1000):
        raise HostError(f"others may write in {path.parent}", hint=f"ls -ld {path.parent}")
    new = path.with_name(f".{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        new.unlink(missing_ok=True)
        listener.bind(os.fspath(new))
        os.chown(new, owner, -1)
        listener.listen(_BACKLOG)
        new.rename(path)
    except OSError as error:
        listener.close()
        new.unlink(missing_ok=True)
        raise HostError(f"{path} cannot be bound: {error.strerror}", hint=f"ls -ld {path.parent}") from error
    finally:
        os.umask(before)
    return listener
