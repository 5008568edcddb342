"""A registry of a test's own, that answers as the test says."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Request(BaseHTTPRequestHandler):
    """One request; ``answer`` is what most need."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        with server.lab.lock:
            server.lab.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        try:
            server.lab.handle(self)
        except OSError:
            self.close_connection = True

    def do_POST(self) -> None:
        self.do_GET()

    def answer(self, status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> None:
        """Send an answer; ``length`` lies about the body's."""
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body) if length is None else length),
            **headers,
        }.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if length is not None:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@dataclass
class Lab:
    """What the server was asked, and how it answers."""

    handle: Callable[[Request], None]
    host: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    done: threading.Event = field(default_factory=threading.Event)

    def count(self, part: str) -> int:
        """Return how often something was asked for."""
        return sum(part in path for path, _ in self.asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    lab: Lab


@contextmanager
def serve(handle: Callable[[Request], None]) -> Iterator[Lab]:
    """Run a server on a free loopback port; ``done`` is set when the test is over."""
    lab = Lab(handle)
    server = _Server(("127.0.0.1", 0), Request)
    server.lab = lab
    lab.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield lab
    finally:
        lab.done.set()
        server.shutdown()
        server.server_close()
        thread.join()


def digest(data: bytes) -> str:
    """Return a digest as registries write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
