"""The daemon as a process: its sockets, its lock, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from banger.cli.client import Client
from banger.cli.launch import end_daemon
from banger.config.paths import Paths, find_paths, make_private
from banger.daemon.main import bind_socket
from banger.errors import ConfigError, DaemonError
from banger.model.vm import VmState
from banger.store.database import Database
from banger.testing.pytest_plugin import BangerDirs
from banger.testing.samples import sample_image, sample_kernel, sample_vm


@pytest.fixture
def paths(banger_dirs: BangerDirs) -> Paths:
    paths = find_paths()
    make_private(paths.state)
    return paths


class Daemons:
    """Real daemon processes; whatever still runs is ended with the test."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.processes: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "banger.daemon.main"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def wait_up(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                Client().call("daemon.status", start=False)
                return
            except DaemonError:
                time.sleep(0.05)
        raise AssertionError("no daemon came up")

    def refused(self) -> str:
        """Start one that refuses to run; return what it said: one line, a hint, no traceback."""
        process = self.start()
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1 and "Traceback" not in said
        message, hint = said.splitlines()
        assert message.startswith("bangerd: ") and hint.startswith("hint: ")
        return message


@pytest.fixture
def daemons(paths: Paths) -> Iterator[Daemons]:
    daemons = Daemons(paths)
    yield daemons
    for process in daemons.processes:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def test_socket_is_the_owners_alone_whatever_the_umask(paths: Paths) -> None:
    make_private(paths.sockets)
    before = os.umask(0)
    try:
        server = bind_socket(paths.daemon_socket)
        assert os.umask(0) == 0, "the umask is as it was"
    finally:
        os.umask(before)
    with server:
        assert paths.daemon_socket.stat().st_mode & 0o7777 == 0o600
        assert os.listdir(paths.sockets) == ["bangerd.sock"]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(paths.daemon_socket))


def test_stale_socket_is_replaced(paths: Paths) -> None:
    make_private(paths.sockets)
    bind_socket(paths.daemon_socket).close()
    with bind_socket(paths.daemon_socket), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(paths.daemon_socket))


def test_file_in_the_sockets_place_is_replaced(paths: Paths) -> None:
    make_private(paths.sockets)
    paths.daemon_socket.write_text("what is this")
    with bind_socket(paths.daemon_socket), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(paths.daemon_socket))


def test_socket_that_answers_is_never_replaced(paths: Paths) -> None:
    make_private(paths.sockets)
    with bind_socket(paths.daemon_socket) as server:
        with pytest.raises(DaemonError, match="answers") as caught:
            bind_socket(paths.daemon_socket)
        assert caught.value.hint
        server.accept()[0].close()


def test_two_daemons_starting_at_once_leave_one(daemons: Daemons, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = daemons.start(), daemons.start()
    daemons.wait_up()
    deadline = time.monotonic() + 30
    while first.poll() is None and second.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    [loser] = [process for process in (first, second) if process.poll() is not None]
    winner = second if loser is first else first
    assert loser.returncode == 1
    assert Client().call("daemon.status", start=False)["pid"] == winner.pid
    assert daemons.paths.lock.read_text().strip() == str(winner.pid)


def test_killed_daemon_is_followed_by_the_next_call(daemons: Daemons) -> None:
    first = daemons.start()
    daemons.wait_up()
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert daemons.paths.daemon_socket.exists(), "a stale socket is what SIGKILL leaves"
    status = Client().call("daemon.status")
    assert status["pid"] != first.pid
    assert end_daemon(Client(), force=False)


def test_sigterm_ends_the_daemon_cleanly(daemons: Daemons) -> None:
    process = daemons.start()
    daemons.wait_up()
    process.terminate()
    assert process.wait(15) == 0
    assert not daemons.paths.daemon_socket.exists() and not daemons.paths.stream_socket.exists()


def test_daemon_started_by_a_call_is_a_session_of_its_own_at_the_root(daemons: Daemons) -> None:
    pid = Client().call("daemon.status")["pid"]
    assert os.getsid(pid) == pid != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"PYTEST_CURRENT_TEST" not in environment
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        assert "pytest" not in os.readlink(f"/proc/{pid}/fd/{descriptor}")
    assert end_daemon(Client(), force=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[defaults]\nvcpus = 2\n", "unknown key defaults.vcpus"),
        ("[plugins.net-user]\nrestrict = 7\n", "plugins.net-user.restrict"),
        ("vcpu = = 2\n", "is not TOML"),
        ('disabled = ["net-usr", "dns"]\n', "disabled names the plugin 'net-usr'"),
    ],
)
def test_wrong_configuration_keeps_nobody_from_what_needs_none(
    banger_dirs: BangerDirs, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    client = Client()
    client.call("vm.list")
    vm = sample_vm().model_copy(update={"state": VmState.STOPPED})
    with closing(Database(client.paths.database)) as database:
        database.add_image(sample_image())
        database.add_kernel(sample_kernel())
        database.add_vm(vm)
    banger_dirs.write_config(text)
    client = Client()
    assert [found["name"] for found in client.call("vm.list")["vms"]] == [vm.name]
    said = capsys.readouterr().err
    assert said.startswith("warning: the configuration is not used: ") and message in said
    for name, params in (("vm.create", {}), ("vm.start", {"vm": vm.name}), ("config.show", {})):
        with pytest.raises(ConfigError) as caught:
            client.call(name, params)
        assert message in caught.value.message and caught.value.hint
    (line,) = [line for line in client.call("doctor")["checks"] if line["name"] == "configuration"]
    assert line["status"] == "FAIL" and message in line["detail"]
    assert client.call("vm.show", {"vm": vm.name})["vm"]["state"] == "stopped"
    client.call("vm.stop", {"vm": vm.name})
    client.call("vm.delete", {"vm": vm.name})
    assert capsys.readouterr().err == ""  # it is said once
    banger_dirs.write_config("")
    assert Client().call("config.show")["settings"]


def test_newer_database_is_refused(daemons: Daemons) -> None:
    with sqlite3.connect(daemons.paths.database) as raw:
        raw.execute("CREATE TABLE schema_migrations (id INTEGER PRIMARY KEY, name TEXT, applied_at TEXT)")
        raw.execute("INSERT INTO schema_migrations VALUES (999, 'later', 'then')")
    raw.close()
    assert "newer than this banger" in daemons.refused()


def test_state_directory_that_is_a_file_is_refused(daemons: Daemons) -> None:
    for entry in daemons.paths.state.iterdir():
        entry.unlink()
    daemons.paths.state.rmdir()
    daemons.paths.state.write_text("")
    assert str(daemons.paths.state) in daemons.refused()


def test_log_is_the_owners_alone_and_its_lines_carry_operation_ids(daemons: Daemons) -> None:
    daemons.start()
    daemons.wait_up()
    Client().call("vm.list", start=False)
    assert daemons.paths.log.stat().st_mode & 0o777 == 0o600
    [line] = [line for line in daemons.paths.log.read_text().splitlines() if "vm.list done" in line]
    assert json.loads(line)["op"].startswith("op-")
