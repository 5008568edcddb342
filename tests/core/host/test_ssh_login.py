"""Logins that are tried, against servers made for the test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from banger.errors import HostError
from banger.host.ssh import SshFiles, make_key
from banger.host.ssh_login import try_login


class Server(paramiko.ServerInterface):
    """Lets root in with one key."""

    def __init__(self, welcome: str) -> None:
        self.welcome = welcome

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        welcome = f"{key.get_name()} {key.get_base64()}" == self.welcome
        return paramiko.AUTH_SUCCESSFUL if welcome and username == "root" else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"


@pytest.fixture
def files(tmp_path: Path) -> SshFiles:
    files = SshFiles(tmp_path / "ssh")
    files.prepare()
    make_key(tmp_path / "host", "otter")
    files.write_known_hosts({"otter.vm": tmp_path / "host"})
    return files


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def serve(connection: socket.socket, host_key: Path, welcome: Path) -> None:
    transport = paramiko.Transport(connection)
    transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(host_key)))
    transport.start_server(threading.Event(), Server(welcome.read_text().rpartition(" ")[0]))


def log_in(connection: socket.socket, files: SshFiles, timeout: float = 20, host: str = "otter.vm") -> str:
    return try_login(connection, host, files.identity, files.known_hosts, timeout)


def public(path: Path) -> Path:
    return path.with_name(path.name + ".pub")


def test_the_pinned_key_and_the_users_own(
    files: SshFiles, tmp_path: Path, pair: tuple[socket.socket, socket.socket]
) -> None:
    serve(pair[1], tmp_path / "host", public(files.identity))
    assert log_in(pair[0], files).startswith("SSH-2.0-")


def test_another_host_key(files: SshFiles, tmp_path: Path, pair: tuple[socket.socket, socket.socket]) -> None:
    make_key(tmp_path / "impostor", "otter")
    serve(pair[1], tmp_path / "impostor", public(files.identity))
    with pytest.raises(HostError, match=r"otter\.vm has another host key than the pinned one"):
        log_in(pair[0], files)


def test_a_user_who_is_not_welcome(
    files: SshFiles, tmp_path: Path, pair: tuple[socket.socket, socket.socket]
) -> None:
    make_key(tmp_path / "other", "other")
    serve(pair[1], tmp_path / "host", public(tmp_path / "other"))
    with pytest.raises(HostError, match="no login over ssh"):
        log_in(pair[0], files)


@pytest.mark.parametrize("said", [b"", b"no ssh here\r\n" * 2, b"SSH-2.0-x\r\n" + bytes(100)])
def test_a_server_that_is_none(
    files: SshFiles, pair: tuple[socket.socket, socket.socket], said: bytes
) -> None:
    pair[1].sendall(said)
    pair[1].shutdown(socket.SHUT_WR)
    with pytest.raises(HostError, match="no login over ssh"):
        log_in(pair[0], files)


def test_a_host_without_a_pinned_key(files: SshFiles, pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(HostError, match=r"no host key of beaver\.vm") as caught:
        log_in(pair[0], files, host="beaver.vm")
    assert caught.value.hint == "banger vm ssh beaver"
