"""An ssh agent that is lent: what a guest may ask of it, and what it never gets."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.cli.ssh_agent import Filter, HostAgent, Switchboard, choose_keys
from banger.errors import GuestError, HostError, NotFoundError

LIST, SIGN, FAILURE = b"\x0b", b"\x0d", b"\x05"


@pytest.fixture(scope="module")
def agent() -> Iterator[HostAgent]:
    """A real agent with two keys, ``work`` and ``private``."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("ssh-agent is not installed")
    folder = Path(tempfile.mkdtemp(prefix="agent-", dir="/tmp"))  # sockets need short paths
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(folder / "s")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it listens before it says so
        for name in ("work", "private"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True
            )
            environment = {**os.environ, "SSH_AUTH_SOCK": str(folder / "s")}
            subprocess.run(["ssh-add", "-q", folder / name], check=True, env=environment)
        yield HostAgent(str(folder / "s"))
    finally:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
        shutil.rmtree(folder)


def packed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def test_keys_are_chosen_by_comment_or_fingerprint(agent: HostAgent) -> None:
    both = choose_keys(agent, ())
    assert sorted(key.comment for key in both) == [b"private", b"work"]
    [work] = choose_keys(agent, ("work",))
    assert choose_keys(agent, (work.fingerprint,)) == (work,)
    assert work.fingerprint.startswith("SHA256:")
    with pytest.raises(NotFoundError, match="no key 'none'"):
        choose_keys(agent, ("none",))


def test_a_guest_lists_and_signs_with_the_chosen_key_alone(agent: HostAgent) -> None:
    work, private = choose_keys(agent, ("work", "private"))
    lent = Filter(agent, (work,))
    listed = lent.answer(LIST)
    assert work.blob in listed and private.blob not in listed and b"private" not in listed
    request = SIGN + packed(work.blob) + packed(b"data") + bytes(4)
    assert lent.answer(request)[:1] == b"\x0e"
    assert lent.answer(SIGN + packed(private.blob) + packed(b"data") + bytes(4)) == FAILURE


@pytest.mark.parametrize(
    "request_",
    [
        b"\x11" + packed(b"ssh-ed25519"),  # add a key
        b"\x12",  # remove one
        b"\x13",  # remove all
        b"\x16" + packed(b"x"),  # lock
        b"\x1b" + packed(b"session-bind@openssh.com"),  # an extension
        b"\x14" + packed(b"/usr/lib/evil.so"),  # load a PKCS #11 provider
        SIGN,
        SIGN + b"\xff\xff\xff\xff",
        LIST + b"x",
        b"",
    ],
)
def test_nothing_else_reaches_the_agent(request_: bytes) -> None:
    class Deaf(HostAgent):
        def ask(self, request: bytes) -> bytes:
            raise AssertionError("it was asked")

    assert Filter(Deaf(""), ()).answer(request_) == FAILURE


def test_an_agent_that_went_away_is_a_failure_to_the_guest_and_said_to_the_user(tmp_path: Path) -> None:
    gone = HostAgent(str(tmp_path / "none"))
    with pytest.raises(HostError, match="does not answer"):
        gone.keys()


class Board:
    """A switchboard whose answers are kept."""

    def __init__(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        os.set_blocking(self._read, False)
        self.board = Switchboard(Filter(HostAgent(""), ()), write)

    def ask(self, data: bytes) -> bytes:
        self.board.feed(data)
        try:
            return os.read(self._read, 1 << 20)
        except BlockingIOError:
            return b""


def message(number: int, data: bytes) -> bytes:
    return number.to_bytes(4, "big") + packed(data)


def test_requests_arrive_in_any_pieces_and_are_answered_each_on_its_connection() -> None:
    board, request = Board(), packed(LIST)
    assert board.ask(message(1, request[:2])) == b""
    assert board.ask(message(2, packed(b"\x13"))) == message(2, packed(FAILURE))
    assert board.ask(message(1, request[2:])) == message(1, packed(b"\x0c\0\0\0\0"))
    whole = message(3, request + request)
    assert board.ask(whole[:9]) == b""
    assert board.ask(whole[9:]) == message(3, packed(b"\x0c\0\0\0\0")) * 2
    assert board.ask(message(3, b"")) == b""


def test_a_guest_that_makes_no_sense_is_cut_off() -> None:
    assert Board().ask(message(1, b"\xff\xff\xff\xff")) == message(1, b""), "that connection ends"
    with pytest.raises(GuestError, match="makes no sense"):
        Board().ask(b"\0\0\0\x01\xff\xff\xff\xff")
    board = Board()
    with pytest.raises(GuestError, match="more connections"):
        for number in range(17):
            board.ask(message(number, b"\0"))
    board = Board()
    with pytest.raises(GuestError, match="faster than it takes"):
        for _ in range(1000):
            board.board.feed(message(1, packed(LIST) * 5000))
