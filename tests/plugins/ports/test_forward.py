"""``vm forward``: ports and sockets through a real agent, and back."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from banger.errors import GuestError, HostError, UsageError
from banger.testing.pytest_plugin import RunCli
from banger_ports.forward import Pair, _accept, _listening, parse_back, parse_pair
from banger_ports.reverse import Back


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("8080", Pair(8080, 8080)),
        ("9000:80", Pair(9000, 80)),
        ("/tmp/d.sock:/run/docker.sock", Pair("/tmp/d.sock", "/run/docker.sock")),
        ("9000:/run/app.sock", Pair(9000, "/run/app.sock")),
    ],
)
def test_pairs(text: str, pair: Pair) -> None:
    assert parse_pair(text) == pair


@pytest.mark.parametrize("text", ["", "0", "65536", "a", "80:", "run/x.sock:80", "9" * 5000])
def test_what_is_no_pair(text: str) -> None:
    with pytest.raises(UsageError, match="no port and no path"):
        parse_pair(text)


@pytest.mark.parametrize("text", ["/tmp/x:80", "80:80", "/run/banger/../x:80", "/run/banger/:80", ""])
def test_sockets_in_a_guest_are_where_the_agent_makes_them(text: str) -> None:
    with pytest.raises(UsageError, match="/run/banger"):
        parse_back(text)
    assert parse_back("/run/banger/db.sock:5432") == Pair("/run/banger/db.sock", 5432)


def test_a_socket_here_is_the_users_own_and_goes(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with _listening(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        with pytest.raises(HostError, match="cannot be listened on"), _listening(path):
            pass
        assert os.path.exists(path)
    assert not os.path.exists(path)


def test_a_connection_passes_through_the_agent(boot: Callable[..., Any], tmp_path: Path) -> None:
    guest = boot()
    for there in (guest.port, str(tmp_path / "there.sock")):
        if isinstance(there, str):
            server = socket.socket(socket.AF_UNIX)
            server.bind(there)
            server.listen()
            guest.server.close()
            guest.server = server
            threading.Thread(target=guest._serve, daemon=True).start()
        path = str(tmp_path / "here.sock")
        with _listening(path) as here:
            threading.Thread(target=_accept, args=("otter", Pair(path, there), here), daemon=True).start()
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(30)
                connection.connect(path)
                connection.sendall(b"hello")
                assert connection.recv(100) == b"hello"


def test_unknown_vms_and_nothing_to_do(boot: Callable[..., Any], run_cli: RunCli) -> None:
    boot()
    assert run_cli("vm", "forward", "otter").status == 2
    assert run_cli("vm", "forward", "nobody", "8080").status == 1
    assert run_cli("vm", "forward", "otter", "-R", "/tmp/x:80").status == 2


class OnPaper(Back):
    """A way back without a guest: what would be sent there is in ``sent``."""

    def __init__(self, here: int | str) -> None:
        self._here, self._ended = here, threading.Event()
        self._lock, self._input, self._open = threading.Lock(), bytearray(), {}
        self.sent, self._write = os.pipe2(os.O_CLOEXEC)


def message(number: int, data: bytes) -> bytes:
    return number.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data


@pytest.fixture
def echo() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    while data := connection.recv(100):
                        connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def test_connections_of_a_guest_reach_this_host(echo: int) -> None:
    back = OnPaper(echo)
    whole = message(1, b"hello") + message(7, b"")
    for at in range(len(whole)):  # however it is cut
        back.feed(whole[at : at + 1])
    expected = message(1, b"hello")
    assert os.read(back.sent, len(expected)) == expected
    back.feed(message(1, b""))
    deadline = time.monotonic() + 30
    while back._open:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_guest_sends_is_bounded() -> None:
    with pytest.raises(GuestError, match="makes no sense"):
        OnPaper(1).feed((1).to_bytes(4, "big") + (2**32 - 1).to_bytes(4, "big"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        back = OnPaper(silent.getsockname()[1])
        with pytest.raises(GuestError, match="more connections"):
            for number in range(1, 100):
                back.feed(message(number, b"x"))


def test_nobody_here_ends_the_guests_connection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    back = OnPaper(str(tmp_path / "nobody.sock"))
    back.feed(message(3, b"hello"))
    assert os.read(back.sent, 8) == message(3, b"")
    assert "nobody.sock here: No such file" in capsys.readouterr().err
