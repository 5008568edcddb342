"""The daemon's client: a few lines of HTTP/1.1 over a Unix socket.

http.client alone would cost a third of a whole ``banger vm list`` (it imports the e-mail parser), so the little that is
needed is here: one request, one answer with a length or in chunks, then the connection closes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from banger.config.fingerprint import fingerprint
from banger.config.paths import Paths, find_paths, find_user_paths, make_private
from banger.errors import DaemonError, LoginError, StaleDaemonError, error_from_problem
from banger.host.caller import read_own
from banger.host.process import wait_ended

#: Seconds a new daemon gets until it answers.
START_TIMEOUT = 20.0
#: Seconds between two lines of an answer: a pull reports at least this often.
_READ_TIMEOUT = 900.0
#: Seconds that a service gets until it answers again.
_SERVICE_TIMEOUT = 8.0
_HEAD_LIMIT, _LINE_LIMIT = 65536, 64 * 1024 * 1024

#: Seconds for the answer to a call without progress.
_ANSWER_TIMEOUT = 90.0
#: Seconds until the first line, which names the operation: nothing is done before it.
_FIRST_TIMEOUT = 30.0

Event = dict[str, Any]


class Client:
    """One user's daemon, started when it does not run."""

    def __init__(self, socket: Path | None = None, *, paths: Paths | None = None) -> None:
        """:param socket: the daemon's; none means that of ``paths``, which are :func:`find_paths`'s by default."""
        self.paths: Paths = replace(find_user_paths(), service=socket) if socket else paths or find_paths()
        self._noticed = self._warned = False
        self._warning: str | None = None
        self._held = contextlib.ExitStack()
        self._logins: dict[str, tuple[str, str]] = {}

    @cached_property
    def fingerprint(self) -> str:
        """What this program was started from, as a digest; a daemon that was started from the same has the same."""
        return hashlib.sha256(
            fingerprint(self.paths.config, is_system=self.paths.is_system).encode()
        ).hexdigest()[:32]

    def call(
        self,
        name: str,
        params: dict[str, Any] | None = None,
        *,
        on_event: Callable[[Event], None] | None = None,
        start: bool = True,
        hold: bool = False,
    ) -> dict[str, Any]:
        """Call an operation and return its result.

        :param on_event: gets progress events as they come.
        :param start: start the daemon when it does not run; else DaemonError.
        :param hold: keep the connection: what the operation made goes when this client does (``Lease``).
        :raises BangerError: what the daemon reported, as the class it raised.
        """
        for _ in range(4):
            connection = self._connect(start)
            daemon = _peer(connection)
            with contextlib.ExitStack() as closing:
                closing.callback(connection.close)
                try:
                    result = self._exchange(connection, name, params or {}, on_event)
                except StaleDaemonError:
                    wait_ended(daemon, START_TIMEOUT)
                    continue
                except LoginError as error:
                    if not self._log_in(error.registry):
                        raise
                    continue
                if hold:
                    self._held = closing.pop_all()
                return result
        raise DaemonError("the daemon keeps restarting", hint="banger daemon stop, then try again")

    def _log_in(self, registry: str) -> bool:
        """Find the login that a registry asks for, to send it with the next try; false when there is none to try."""
        from banger.cli.login import find_login

        found = find_login(registry) if registry not in self._logins else None
        if found is not None:
            self._logins[registry] = found
        return found is not None

    def release(self) -> None:
        """End the connection that was held: what it stands for goes, unless it was kept."""
        self._held.close()

    def peek(self, name: str, timeout: float, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the daemon that runs, whichever version it is; it is neither started nor replaced.

        :param timeout: seconds for every step.
        :raises BangerError: it does not run, or does not answer in time.
        """
        try:
            connection = _open(str(self.paths.daemon_socket), timeout)
        except OSError as error:
            raise _not_running() from error
        try:
            return self._exchange(connection, name, params or {}, None, timeout)
        finally:
            connection.close()

    def _connect(self, start: bool) -> socket.socket:
        path = str(self.paths.daemon_socket)
        try:
            return _open(path)
        except OSError as error:
            if isinstance(error, PermissionError):
                raise DaemonError(
                    f"no permission for {path}", hint="check who owns the state directory"
                ) from error
            if self.paths.service is not None:
                return self._wait_service(_SERVICE_TIMEOUT if start else 0)
            if not start:
                raise _not_running() from error
        from banger.cli.launch import start_daemon

        make_private(self.paths.state)
        return start_daemon(self.paths, START_TIMEOUT)

    def _wait_service(self, seconds: float) -> socket.socket:
        """Return a connection to a daemon that somebody else starts, and perhaps just starts again."""
        path, began = str(self.paths.daemon_socket), time.monotonic()
        while True:
            try:
                return _open(path)
            except OSError as error:
                waited = time.monotonic() - began
                if waited < seconds or (seconds > 0 and waited < START_TIMEOUT and self._is_held()):
                    time.sleep(0.02)
                    continue
                hint = "sudo systemctl start bangerd; what happened: journalctl -u bangerd"
                raise DaemonError(
                    f"no daemon answers at {path}",
                    hint=hint if self.paths.is_system else "is BANGER_SOCKET right?",
                ) from error

    def _is_held(self) -> bool:
        import fcntl

        try:
            with open(self.paths.lock, encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def is_up(self) -> bool:
        """Tell whether a daemon takes calls."""
        try:
            _open(str(self.paths.daemon_socket)).close()
        except OSError:
            return False
        return True

    def _exchange(
        self,
        connection: socket.socket,
        name: str,
        params: dict[str, Any],
        on_event: Callable[[Event], None] | None,
        peek: float | None = None,
    ) -> dict[str, Any]:
        ours = peek is None and (self.paths.service is None or self.paths.is_system)
        mark = f"Banger-Fingerprint: {self.fingerprint}\r\n" if ours else ""
        mark += f"Banger-Caller: {json.dumps(read_own())}\r\n"
        if self._logins:
            mark += f"Banger-Logins: {json.dumps(self._logins)}\r\n"
        body = json.dumps(params).encode()
        accept = "application/x-ndjson" if on_event else "application/json"
        head = (
            f"POST /v1/{name} HTTP/1.1\r\nHost: banger\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Accept: {accept}\r\n{mark}Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            connection.settimeout(_FIRST_TIMEOUT if on_event else (peek or _ANSWER_TIMEOUT))
            if on_event is not None:
                hold_interrupts(True)
            with contextlib.suppress(BrokenPipeError):  # refused before all was sent: the answer is there
                connection.sendall(head.encode() + body)
            answer = self._read_answer(connection, on_event)
            if peek is None:
                self._warn()
            return answer
        except (ConnectionError, EOFError) as error:
            raise DaemonError(
                "the daemon ended while it answered", hint="what happened: banger daemon logs"
            ) from error
        except TimeoutError as error:
            raise DaemonError(
                f"the daemon said nothing for {connection.gettimeout():.0f} s",
                hint="what happened: banger daemon logs; to end it: banger daemon stop --force",
            ) from error
        finally:
            if on_event is not None:
                hold_interrupts(False)

    def _read_answer(
        self, connection: socket.socket, on_event: Callable[[Event], None] | None
    ) -> dict[str, Any]:
        with connection.makefile("rb", buffering=65536) as file:
            status, headers = _read_head(file)
            self._show_notice(headers.get("banger-notice"))
            self._warning = headers.get("banger-warning")
            lines = (
                _chunks(file)
                if headers.get("transfer-encoding") == "chunked"
                else iter([_sized(file, headers)])
            )
            if on_event is None or status != 200 or "ndjson" not in headers.get("content-type", ""):
                answer = _parse(b"".join(lines))
                if status >= 400:
                    raise error_from_problem(answer)
                return answer
            for line in _split_lines(lines):
                event = _parse(line)
                if event.get("event") == "result":
                    return dict(event["result"])
                if event.get("event") == "error":
                    raise error_from_problem(event["error"])
                on_event(event)
                connection.settimeout(_READ_TIMEOUT)
                hold_interrupts(False)
        raise EOFError

    def _show_notice(self, notice: str | None) -> None:
        if notice and not self._noticed:
            self._noticed = True
            print(f"note: {notice}", file=sys.stderr)

    def _warn(self) -> None:
        """Say what is wrong with the configuration, where the command worked all the same."""
        if self._warning and not self._warned:
            self._warned = True
            print(f"warning: the configuration is not used: {self._warning}", file=sys.stderr)
            print("hint: mend it, nothing new is made or started before; banger doctor", file=sys.stderr)


def hold_interrupts(hold: bool) -> None:
    """Let Ctrl-C and hang-ups wait, or come: who asked for something must know its id before he can cancel it."""
    import signal

    how = signal.SIG_BLOCK if hold else signal.SIG_UNBLOCK
    signal.pthread_sigmask(how, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def _open(path: str, timeout: float | None = None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _peer(connection: socket.socket) -> int:
    """Return the process at the other end; 0 when this one cannot see it (unix(7), SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder)


def _not_running() -> DaemonError:
    return DaemonError(
        "the daemon does not run", hint="the next command that needs it starts it, as banger vm list does"
    )


def _nonsense() -> DaemonError:
    return DaemonError("what answered is no daemon of banger", hint="banger daemon stop, then try again")


def _parse(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise _nonsense() from error
    if not isinstance(value, dict):
        raise _nonsense()
    return value


def _number(text: bytes | str, base: int = 10) -> int:
    try:
        return int(text, base)
    except ValueError as error:
        raise _nonsense() from error


def _read_head(file: Any) -> tuple[int, dict[str, str]]:
    first = _read_line(file)
    headers: dict[str, str] = {}
    while (line := _read_line(file).decode("latin-1").strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return _number(first[9:12]), headers


def _read_line(file: Any) -> bytes:
    line: bytes = file.readline(_HEAD_LIMIT)
    if not line.endswith(b"\n"):
        raise EOFError
    return line


def _read_exactly(file: Any, size: int) -> bytes:
    data: bytes = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _sized(file: Any, headers: dict[str, str]) -> bytes:
    return _read_exactly(file, _number(headers.get("content-length", "0")))


def _chunks(file: Any) -> Iterator[bytes]:
    while (size := _number(_read_line(file).strip(), 16)) != 0:
        yield _read_exactly(file, size)
        _read_line(file)


def _split_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LINE_LIMIT:
            raise DaemonError("the daemon sent a line without end")
        yield from (line for line in lines if line)


def read_environment(names: tuple[str, ...]) -> dict[str, str]:
    """Return the caller's environment as ``--env NAME`` and ``--env NAME=VALUE`` ask for it."""
    from banger.errors import UsageError

    chosen: dict[str, str] = {}
    for text in names:
        name, equals, value = text.partition("=")
        if not name or (not equals and name not in os.environ):
            raise UsageError(
                f"--env {text[:80]}: no such variable here", hint="--env NAME or --env NAME=VALUE"
            )
        chosen[name] = value if equals else os.environ[name]
    return chosen
