"""A whole daemon in a thread of the test's process: real sockets, real store, chosen plugins."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from banger.config.fingerprint import fingerprint
from banger.config.paths import Paths, find_paths
from banger.config.settings import read_settings
from banger.plugins import Plugins

if TYPE_CHECKING:
    from banger.daemon.services import Services
    from banger.host.command import Commands
    from banger.host.disk import Disks

#: Seconds the daemon gets to come up and to end.
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer of the daemon, as it came over the socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def events(self) -> list[dict[str, Any]]:
        """The body as lines of JSON."""
        return [json.loads(line) for line in self.body.splitlines()]


class BangerApp:
    """A daemon on the isolated directories of the test; a context manager.

    Its store and sockets are real, its plugins those that were loaded for it, and ``commands`` and ``disks`` may be
    fakes. The command line and :class:`~banger.cli.client.Client` find it by themselves.
    """

    def __init__(
        self,
        plugins: Plugins,
        *,
        commands: Commands | None = None,
        disks: Disks | None = None,
        prepare: Callable[[Services], object] | None = None,
    ) -> None:
        """:param prepare: called with the daemon's parts before it does anything with them."""
        self.paths: Paths = find_paths()
        self.plugins = plugins
        self._commands, self._disks, self._prepare = commands, disks, prepare
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="banger-app")
        self.services: Services

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._up.wait(_PATIENCE):
            raise TimeoutError("the daemon did not come up")
        if self._failure is not None:
            self._thread.join(_PATIENCE)
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.services.loop.call_soon_threadsafe(self.services.stopping.set)
        self._thread.join(_PATIENCE)

    def join(self, timeout: float = _PATIENCE) -> bool:
        """Wait until the daemon has ended by itself; tell whether it did."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._up.set()

    async def _serve(self) -> None:
        from banger.daemon.app import make_app
        from banger.daemon.main import bind_socket, make_services
        from banger.daemon.reconcile import reconcile
        from banger.daemon.server import serve_http

        paths = self.paths
        mark = fingerprint(paths.config)
        self.services = make_services(paths, read_settings(paths.config), self.plugins, mark)
        if self._commands is not None:
            self.services.commands = self._commands
        if self._disks is not None:
            self.services.disks = self._disks
        if self._prepare is not None:
            self._prepare(self.services)
        await reconcile(self.services)
        listener = bind_socket(paths.daemon_socket)
        streams = await asyncio.start_unix_server(
            self.services.streams.serve, sock=bind_socket(paths.stream_socket)
        )
        self.services.supervisor.start()
        self._up.set()
        try:
            await serve_http(make_app(self.services), listener, self.services.stopping)
        finally:
            listener.close()
            streams.close()
            await self.services.supervisor.close()
            for path in (paths.daemon_socket, paths.stream_socket):
                path.unlink(missing_ok=True)
            await self.services.guests.close()
            self.services.pool.shutdown(wait=True, cancel_futures=True)
            self.services.database.close()

    def call(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Call an operation as the command line does; errors are raised as the daemon raised them."""
        from banger.cli.client import Client

        return Client().call(name, dict(params or {}), on_event=on_event, start=False)

    def request(
        self,
        path: str,
        body: bytes = b"{}",
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one HTTP request as it is given and return the answer as it comes."""
        import http.client

        lines = {"Host": "banger", "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(str(self.paths.daemon_socket))
            with contextlib.suppress(BrokenPipeError):  # refused before all was sent: the answer is there
                connection.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
            with http.client.HTTPResponse(connection, method=method) as answer:
                answer.begin()
                named = {name.lower(): value for name, value in answer.getheaders()}
                return Answer(answer.status, named, answer.read())
