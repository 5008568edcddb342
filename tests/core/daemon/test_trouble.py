"""What a daemon does when its files, its requests or its caller are in trouble."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.cli.client import Client
from banger.cli.launch import daemon_pid, end_daemon
from banger.config.paths import Paths, find_paths, make_directories, make_private
from banger.errors import DaemonError, StaleDaemonError, StoreError
from banger.host.process import process_start_time, wait_ended
from banger.store.database import Database
from banger.testing.pytest_plugin import BangerDirs
from banger.testing.samples import sample_image, sample_kernel, sample_vm


@pytest.fixture
def paths(banger_dirs: BangerDirs) -> Iterator[Paths]:
    paths = find_paths()
    make_private(paths.state)
    make_directories(paths)
    yield paths
    pid = daemon_pid(paths)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        assert wait_ended(pid, 15)


def banger(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the command line; there is never a traceback."""
    line = [sys.executable, "-P", "-m", "banger", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=timeout, check=False)
    assert "Traceback" not in done.stderr
    return done


def running_daemon(paths: Paths) -> int:
    Client().call("vm.list")
    pid = daemon_pid(paths)
    assert pid is not None
    return pid


def fill_store(paths: Paths) -> list[Path]:
    """Make what a VM stands on; return the directories a lost database must not cost."""
    vm = sample_vm()
    database = Database(paths.database)
    database.add_image(sample_image())
    database.add_kernel(sample_kernel())
    database.add_vm(vm)
    database.close()
    kept = [paths.vms / vm.id, paths.images / "some", paths.kernels / "other", paths.sockets / vm.id[:8]]
    for directory in kept:
        directory.mkdir()
    return kept


def test_a_lost_database_costs_nothing_a_vm_stands_on(paths: Paths) -> None:
    kept = fill_store(paths)
    for file in paths.state.glob("banger.db*"):
        file.unlink()
    assert Client().call("vm.list")["vms"] == []
    assert [directory.is_dir() for directory in kept] == [True] * 4


def test_a_damaged_record_is_left_out_and_costs_nothing(paths: Paths) -> None:
    kept = fill_store(paths)
    database = Database(paths.database)
    database._write("UPDATE vms SET record = ?", '{"id": 7}')
    database.close()
    assert Client().call("vm.list")["vms"] == []
    with pytest.raises(StoreError, match="the record of '.+' is damaged"):
        Client().call("vm.show", {"vm": sample_vm().name})
    assert [directory.is_dir() for directory in kept] == [True] * 4


def test_a_stopped_daemon_can_be_ended_by_force_only(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("banger.cli.launch._STOP_SECONDS", 1.0)
    pid = running_daemon(paths)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(DaemonError, match=rf"process {pid}\) does not answer") as caught:
        end_daemon(Client(), force=False)
    assert "daemon stop --force" in str(caught.value.hint)
    assert end_daemon(Client(), force=True)
    assert daemon_pid(paths) is None or wait_ended(pid, 1)
    assert not end_daemon(Client(), force=True)


def test_one_that_ends_already_is_waited_for(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    pid, peek = running_daemon(paths), Client.peek

    def second(client: Client, name: str, timeout: float, params: Any = None) -> dict[str, Any]:
        peek(client, name, timeout, params)
        raise StaleDaemonError("the daemon is ending", hint="run the command again")

    monkeypatch.setattr(Client, "peek", second)
    assert end_daemon(Client(), force=False)
    assert process_start_time(pid) is None


def test_a_process_that_holds_the_lock_and_never_serves_is_named(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banger.cli.client.START_TIMEOUT", 2.0)
    code = (
        "import fcntl, os, sys, time\n"
        "lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "lock.write(str(os.getpid())); lock.flush(); print(flush=True); time.sleep(60)"
    )
    line = [sys.executable, "-c", code, str(paths.lock), "banger.daemon.main"]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(DaemonError, match=rf"process {holder.pid}\) does not answer") as caught:
            Client().call("vm.list")
        assert "daemon stop --force" in str(caught.value.hint)
        holder.kill()
    deadline = time.monotonic() + 120
    while not Client().is_up():  # the daemon that was started goes on as soon as it has the lock
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_half_a_request_is_given_up(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    running_daemon(paths)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as half:
        half.connect(str(paths.daemon_socket))
        half.sendall(b"POST /v1/vm.list HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        half.settimeout(30)
        answer = b""
        while data := half.recv(65536):
            answer += data
        assert b"did not come within 10 s" in answer


def test_pipes_where_files_should_be_hold_nobody_up(paths: Paths, banger_dirs: BangerDirs) -> None:
    errors = paths.state / "bangerd.err"
    os.mkfifo(errors)
    done = banger("vm", "list", timeout=15)
    assert done.returncode == 1 and "bangerd.err cannot be written" in done.stderr
    errors.unlink()
    banger_dirs.config.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(banger_dirs.config)
    done = banger("vm", "create", timeout=15)
    assert done.returncode == 1 and "is a pipe, not a file" in done.stderr


def test_a_directory_in_a_file_s_place_is_said_in_one_line(paths: Paths) -> None:
    paths.daemon_socket.mkdir(parents=True)
    done = banger("vm", "list")
    assert done.returncode == 1
    assert str(paths.daemon_socket) in done.stderr
    assert "hint: " in done.stderr


def test_a_daemon_that_nobody_can_reach_ends(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import banger.daemon.main as main; main._REPLACED_SECONDS = 0.1; main.main()"
    # the name that tells a daemon's process from others
    with subprocess.Popen([sys.executable, "-P", "-c", code, "banger.daemon.main"]) as daemon:
        deadline = time.monotonic() + 30
        while not paths.stream_socket.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.5)
        paths.daemon_socket.rename(paths.daemon_socket.with_name("elsewhere"))
        paths.daemon_socket.touch()
        assert daemon.wait(20) == 0
    assert paths.daemon_socket.exists(), "it took away what was not its own"
