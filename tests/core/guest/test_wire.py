from __future__ import annotations

import os
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger.errors import GuestError
from banger.guest import wire
from banger.guest.wire import Frame, HelloFinder, Parser


def test_frames_survive_any_cut() -> None:
    frames = [
        Frame(wire.ACCEPT, 1, 0, b"{}"),
        Frame(wire.DATA, 1, wire.STDOUT, os.urandom(wire.MAX_PAYLOAD)),
        Frame(wire.EOF, 1, wire.STDOUT),
        Frame(wire.EVENT, 0, 0, b'{"event":"ready"}'),
    ]
    data = b"".join(map(wire.encode, frames))
    for step in (1, 7, 4096, len(data)):
        parser = Parser()
        seen = [frame for at in range(0, len(data), step) for frame in parser.feed(data[at : at + step])]
        assert seen == frames


@pytest.mark.parametrize(
    ("length", "stream", "kind", "reserved"),
    [
        (wire.MAX_PAYLOAD + 1, 1, wire.DATA, 0),
        (4, 1, wire.DATA, 1),
        (0, 1, wire.DATA, 0),
        (4, 0, wire.DATA, 0),
        (4, 1, wire.EVENT, 0),
        (4, 1, 99, 0),
        (5, 1, wire.CREDIT, 0),
        (2, 1, wire.OPEN, 0),
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFF, 0xFFFF),
    ],
)
def test_a_bad_header_is_refused_before_its_payload_comes(
    length: int, stream: int, kind: int, reserved: int
) -> None:
    with pytest.raises(GuestError):
        Parser().feed(wire.HEADER.pack(length, stream, kind, 0, reserved))


def test_a_missing_end_mark_is_refused() -> None:
    with pytest.raises(GuestError, match="end mark"):
        Parser().feed(wire.encode(Frame(wire.DATA, 1, 1, b"x"))[:-1] + b"\xff")


@given(st.binary(max_size=300))
def test_random_bytes_give_frames_or_an_error(data: bytes) -> None:
    try:
        Parser().feed(data)
    except GuestError:
        pass


@given(st.binary(max_size=200), st.integers(1, 50))
def test_the_answer_is_found_in_garbage(garbage: bytes, step: int) -> None:
    nonce = b"n" * 15 + b"!"
    answer = wire.encode(
        Frame(wire.HELLO, 0, 0, wire.MAGIC + struct.pack(">I", 1) + nonce + b'{"state":"ready"}')
    )
    stale = wire.encode(Frame(wire.HELLO, 0, 0, wire.MAGIC + struct.pack(">I", 1) + b"o" * 16 + b"{}"))
    data = garbage + stale[:40] + answer + b"rest"
    finder = HelloFinder(nonce)
    for at in range(0, len(data), step):
        if found := finder.feed(data[at : at + step]):
            info, version, rest = found
            assert (info, version) == ({"state": "ready"}, 1)
            assert b"rest".startswith(rest)
            return
    raise AssertionError("not found")


def test_the_search_for_the_answer_is_bounded() -> None:
    finder = HelloFinder(os.urandom(16))
    with pytest.raises(GuestError, match="4 MiB"):
        for _ in range(100):
            finder.feed(bytes(65536))


def test_json_that_is_no_object_is_refused() -> None:
    for payload in (b"[]", b"\xff", b"{", b"[" * 60000):
        with pytest.raises(GuestError):
            wire.decode_json(payload)


def test_importing_it_is_cheap() -> None:
    code = "import sys; import banger.guest.wire; print(*{'asyncio', 'pydantic', 'zstandard'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
