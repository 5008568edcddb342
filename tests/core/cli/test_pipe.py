"""A guest's command as a function, against a daemon's end that the test plays."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from banger.cli import terminal
from banger.cli.pipe import Ended, run_piped
from banger.errors import GuestError, NotFoundError
from banger.guest import wire


class Peer:
    """The other end of a stream."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.parser = connection, wire.Parser(wire.FROM_HOST)
        self.input, self.ended = bytearray(), False

    def send(self, kind: int, payload: bytes = b"", flags: int = 0) -> None:
        self.connection.sendall(wire.encode(wire.Frame(kind, 1, flags, payload)))

    def read(self, *, credit: bool = True) -> bool:
        data = self.connection.recv(65536)
        for frame in self.parser.feed(data):
            if frame.type == wire.DATA:
                self.input += frame.payload
                if credit:
                    self.connection.sendall(wire.encode(wire.credit(1, frame.cost)))
            self.ended = self.ended or frame.type == wire.EOF
        return bool(data)

    def exit(self, code: int) -> None:
        self.send(wire.EXIT, wire.encode_json({"code": code}))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ended]]:
    """Return a function that runs a pipe against a peer's script."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(terminal, "open_stream", lambda path, token: ours)

    class Client:
        def call(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
            assert name == "vm.exec.open"
            return {"socket": "s", "token": "t"}

    def run(script: Callable[[Peer], None], **options: Any) -> Ended:
        def play() -> None:
            with theirs:
                script(Peer(theirs))

        thread = threading.Thread(target=play)
        thread.start()
        try:
            return run_piped(Client(), "vm", ("cmd",), **options)
        finally:
            ours.close()
            thread.join(10)

    yield run
    ours.close()
    theirs.close()


def test_bytes_go_in_and_come_out(played: Callable[..., Ended]) -> None:
    pieces = [os.urandom(300_000), b"", b"x", os.urandom(700_000)]
    got = bytearray()

    def script(peer: Peer) -> None:
        peer.send(wire.ACCEPT, b"{}")
        while not peer.ended:
            peer.read()
        got.extend(peer.input)
        peer.send(wire.DATA, b"out", wire.STDOUT)
        peer.send(wire.DATA, b"first\nlast\x1b[31m\n", wire.STDERR)
        peer.exit(3)

    ended = played(script, input=pieces)
    assert bytes(got) == b"".join(pieces)
    assert (ended.status, ended.stdout, ended.said) == (3, b"out", "last?[31m")


def test_no_more_is_asked_for_than_the_guest_takes(played: Callable[..., Ended]) -> None:
    asked = []

    def pieces() -> Iterator[bytes]:
        for number in range(100):
            asked.append(number)
            yield bytes(65536)

    def script(peer: Peer) -> None:
        peer.send(wire.ACCEPT, b"{}")
        while len(peer.input) < wire.WINDOW:
            peer.read(credit=False)
        peer.exit(0)

    assert played(script, input=pieces()).status == 0
    assert len(asked) <= 5


def test_a_descriptor_is_watched(played: Callable[..., Ended]) -> None:
    reader, writer = os.pipe()

    def script(peer: Peer) -> None:
        peer.send(wire.ACCEPT, b"{}")
        for word in (b"one", b"two"):
            os.write(writer, word)
            while bytes(peer.input) != word:
                peer.read()
            peer.input.clear()
        os.close(writer)
        while not peer.ended:
            peer.read()
        peer.exit(0)

    try:
        assert played(script, input=reader).status == 0
    finally:
        os.close(reader)


def test_too_much_is_an_error(played: Callable[..., Ended]) -> None:
    def script(peer: Peer) -> None:
        peer.send(wire.ACCEPT, b"{}")
        peer.send(wire.DATA, b"12345", wire.STDOUT)
        peer.read()

    with pytest.raises(GuestError, match="more than it may"):
        played(script, limit=4)


def test_silence_is_an_error(played: Callable[..., Ended]) -> None:
    def script(peer: Peer) -> None:
        peer.send(wire.ACCEPT, b"{}")
        while peer.read():
            pass

    with pytest.raises(GuestError, match="silent for 0 s"):
        played(script, silence=0.05)


def test_a_loss_is_an_error(played: Callable[..., Ended]) -> None:
    with pytest.raises(GuestError, match="connection to the VM was lost"):
        played(lambda peer: peer.send(wire.ACCEPT, b"{}"))


def test_a_refusal_is_an_error(played: Callable[..., Ended]) -> None:
    problem = wire.encode_json({"code": "not-found", "message": "no cmd"})
    with pytest.raises(NotFoundError, match="no cmd"):
        played(lambda peer: peer.send(wire.ERROR, problem))
