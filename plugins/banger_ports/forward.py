"""``vm forward``: ports and Unix sockets between this host and a VM, for as long as the command runs."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import click

from banger.api import BangerError, Client, HostError, Pipe, UsageError, clean, open_stream, say
from banger_ports.reverse import Back

#: A stream may be there as long as the command runs: bytes, and seconds of silence.
_UNBOUNDED, _FOREVER = 2**62, 10.0**9
#: Connections of one forward at a time, and ones that wait to be accepted.
_CONNECTIONS, _BACKLOG = 64, 16
#: Where the agent makes sockets, for the guest's root alone.
_GUEST_SOCKET = re.compile(r"/run/banger/[a-z0-9.-]{1,80}")


class Pair(NamedTuple):
    """Two ends, each a port or the path of a Unix socket."""

    listens: int | str
    leads_to: int | str


@click.command()
@click.argument("vm")
@click.argument("pairs", nargs=-1, metavar="[HERE:]THERE...")
@click.option(
    "--back",
    "-R",
    multiple=True,
    metavar="/run/banger/NAME:HERE",
    help="a socket in the guest that leads to a port or socket of this host",
)
def forward(vm: str, pairs: tuple[str, ...], back: tuple[str, ...]) -> None:
    """Forward ports and Unix sockets to a VM, and back, until Ctrl-C.

    Each end is a port, of 127.0.0.1 here and of the guest's loopback there, or a path.

    \b
      banger vm forward web 5432                                     a port
      banger vm forward web 9000:80 /tmp/d.sock:/run/docker.sock     another port, a socket
      banger vm forward web -R /run/banger/db.sock:/tmp/db.sock      a socket of this host, there
    """
    out, into = [parse_pair(text) for text in pairs], [parse_back(text) for text in back]
    if not out and not into:
        raise UsageError("what is to be forwarded?", hint=f"banger vm forward {vm} 8080")
    client, ended = Client(), threading.Event()
    client.call("vm.show", {"vm": vm})
    with ExitStack() as stack:
        for pair in out:
            server = stack.enter_context(_listening(pair.listens))
            threading.Thread(target=_accept, args=(vm, pair, server), daemon=True).start()
            say(f"{_words(pair.listens)} here leads to {_words(pair.leads_to)} in {vm}")
        for pair in into:
            stack.enter_context(Back(client, vm, str(pair.listens), pair.leads_to, ended))
            say(f"{pair.listens} in {vm} leads to {_words(pair.leads_to)} here")
        ended.wait()


def _words(end: int | str) -> str:
    return f"port {end}" if isinstance(end, int) else end


def parse_pair(text: str) -> Pair:
    """Return the ends of ``PORT``, ``HERE:THERE``. :raises UsageError: they are none."""
    here, colon, there = text.partition(":")
    return Pair(_end(here, text), _end(there if colon else here, text))


def parse_back(text: str) -> Pair:
    """Return the guest's socket and where it leads. :raises UsageError: they are none."""
    there, _, here = text.partition(":")
    if not _GUEST_SOCKET.fullmatch(there):
        raise UsageError(
            f"--back {clean(text[:80])}: the agent makes sockets in /run/banger only",
            hint="--back /run/banger/NAME:/path/here",
        )
    return Pair(there, _end(here, text))


def _end(text: str, whole: str) -> int | str:
    if text.startswith("/"):
        return text
    if len(text) <= 5 and text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:
        return int(text)
    raise UsageError(
        f"'{clean(whole[:80])}' is no port and no path of a socket",
        hint="8080, 9000:80, /here.sock:/there.sock",
    )


@contextmanager
def _listening(end: int | str) -> Iterator[socket.socket]:
    """Listen on a port of 127.0.0.1, or on a socket of this user alone, which goes with the block."""
    family = socket.AF_INET if isinstance(end, int) else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as server:
        mask = os.umask(0o177)
        try:
            if isinstance(end, int):
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", end) if isinstance(end, int) else end)
        except OSError as error:
            raise HostError(
                f"{_words(end)} cannot be listened on here: {error.strerror or error}",
                hint="choose another one",
            ) from error
        finally:
            os.umask(mask)
        ours = os.stat(end).st_ino if isinstance(end, str) else None
        server.listen(_BACKLOG)
        try:
            yield server
        finally:
            if isinstance(end, str) and os.path.exists(end) and os.stat(end).st_ino == ours:
                os.unlink(end)


def _accept(vm: str, pair: Pair, server: socket.socket) -> None:
    room = threading.Semaphore(_CONNECTIONS)
    while True:
        room.acquire()
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(vm, pair.leads_to, connection, room), daemon=True).start()


def _serve(vm: str, there: int | str, connection: socket.socket, room: threading.Semaphore) -> None:
    """Pass one connection on to the guest, to its end."""
    params: dict[str, Any] = {"vm": vm, "port" if isinstance(there, int) else "unix": there}
    try:
        with connection:
            answer = Client().call("vm.relay.open", params)
            with open_stream(answer["socket"], answer["token"]) as stream:
                Pipe(stream, connection.fileno(), connection.sendall, _UNBOUNDED, _FOREVER).run()
    except BangerError as error:
        say(clean(f"a connection to {_words(there)} in {vm} ended: {error.message}"))
    except OSError:
        return  # whoever connected here is gone
    finally:
        room.release()
