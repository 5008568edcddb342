"""What tests of bridges and firewalls share: namespaces with links between them, and looking at what is there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

#: Answers whoever connects to port 8000 with the address that the connection seems to come from.
_SERVE = """
import socket
with socket.create_server(("0.0.0.0", 8000)) as server:
    print("up", flush=True)
    while True:
        connection, peer = server.accept()
        with connection:
            connection.sendall(peer[0].encode())
"""


class Namespace:
    """A network namespace of its own, held by a process that waits."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._holder.stdout is not None and self._holder.stdout.readline() == b"up\n"
        self.pid = self._holder.pid

    def run(self, *argv: str, check: bool = True, input: str | None = None) -> str:
        """Run a program in it; what it printed."""
        done = subprocess.run(
            ["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv],
            capture_output=True,
            text=True,
            timeout=60,
            input=input,
        )
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def sh(self, script: str, *, check: bool = True) -> str:
        """Run a shell script in it."""
        return self.run("sh", "-ec", script, check=check)

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program in it."""
        return subprocess.Popen(["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv], **options)

    def close(self) -> None:
        os.killpg(self._holder.pid, signal.SIGKILL)
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[list[Namespace]]:
    """Make namespaces, gone afterwards with all that is in them."""
    with contextlib.ExitStack() as undo:
        made = []
        for _ in range(count):
            made.append(Namespace())
            undo.callback(made[-1].close)
        yield made


@contextlib.contextmanager
def serving(where: Namespace) -> Iterator[None]:
    """Run a server on port 8000 that answers with the address it is asked from."""
    with where.start(sys.executable, "-c", _SERVE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline() == b"up\n"
        try:
            yield
        finally:
            server.kill()
