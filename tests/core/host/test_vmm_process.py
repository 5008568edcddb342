"""Starting, finding and ending a VMM's process, with a program that only plays one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.errors import VmmError
from banger.host import vmm_process
from banger.host.process import is_process_alive, process_start_time
from banger.host.vmm_process import end_vmm, find_vmm, spawn_vmm, wait_vmm_open
from banger.testing.samples import sample_id

ENDS_OF_ALL = (signal.SIGTERM, signal.SIGKILL)
PLAYER = """
import pathlib, signal, sys, time
mode, ready = sys.argv[1:3]
if mode == "fails":
    print("this is why", file=sys.stderr)
    sys.exit(1)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("hello from the guest", flush=True)
pathlib.Path(ready).touch()
time.sleep(120)
"""
Play = Callable[..., int]


@pytest.fixture
def identity() -> tuple[str, str]:
    return "--id", sample_id("player")


@pytest.fixture
def play(tmp_path: Path, identity: tuple[str, str]) -> Iterator[Play]:
    def play(mode: str = "plays") -> int:
        argv = [sys.executable, "-c", PLAYER, mode, str(tmp_path / "ready"), *identity]
        pid = spawn_vmm(sys.executable, argv, output=tmp_path / "console", log=tmp_path / "log")
        wait_vmm_open(pid, "player", tmp_path / "log", (tmp_path / "ready").exists)
        return pid

    yield play
    end_vmm("player", find_vmm({"argv": ["x"]}, *identity), {}, (signal.SIGKILL,))


def section_of(pid: int) -> dict[str, Any]:
    return {"argv": ["x"], "pid": pid, "start_time": process_start_time(pid)}


def test_it_is_in_a_session_of_its_own_with_nothing_of_ours(play: Play, tmp_path: Path) -> None:
    given = os.open(tmp_path / "lock", os.O_WRONLY | os.O_CREAT)
    os.set_inheritable(given, True)
    try:
        pid = play()
    finally:
        os.close(given)
    assert os.getsid(pid) == pid
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"PYTEST_CURRENT_TEST" not in environment and b"PATH=" in environment
    opened = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert str(tmp_path / "lock") not in opened
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"


def test_it_is_known_as_soon_as_it_is_started(tmp_path: Path, identity: tuple[str, str]) -> None:
    for _ in range(20):
        line = ["sh", "-c", "read -r _ < /dev/zero", *identity]
        pid = spawn_vmm("/bin/sh", line, output=tmp_path / "log", log=tmp_path / "log")
        known = find_vmm({"argv": line}, *identity)
        end_vmm("player", pid, section_of(pid), (signal.SIGKILL,))
        assert known == pid


def test_its_output_and_its_errors_are_kept_for_their_owner(play: Play, tmp_path: Path) -> None:
    (tmp_path / "console").write_text("before\n")
    play()
    assert (tmp_path / "console").read_text() == "before\nhello from the guest\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_one_that_ends_at_once_says_why(play: Play) -> None:
    with pytest.raises(VmmError, match="player ended at once: this is why") as caught:
        play("fails")
    assert "log" in (caught.value.hint or "")


def test_one_that_does_not_open_is_not_waited_for_for_ever(
    play: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = play()
    monkeypatch.setattr(vmm_process, "_OPEN_TIMEOUT", 0.0)
    with pytest.raises(VmmError, match="player did not open its sockets within 0 s"):
        wait_vmm_open(pid, "player", tmp_path / "log", lambda: False)


def test_what_cannot_be_started_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("not a program")
    with pytest.raises(VmmError, match="could not be started"):
        spawn_vmm(str(tmp_path / "program"), ["x"], output=tmp_path / "log", log=tmp_path / "log")


def test_it_is_found_by_what_was_recorded(play: Play, identity: tuple[str, str]) -> None:
    pid = play()
    assert find_vmm(section_of(pid), *identity) == pid


def test_one_that_was_never_recorded_is_found_by_its_identity(play: Play, identity: tuple[str, str]) -> None:
    """A daemon that is killed between the two leaves a section with a command line and no process id."""
    pid = play()
    assert find_vmm({"argv": ["x"]}, *identity) == pid
    assert find_vmm({}, *identity) is None, "nothing was ever started for this section"
    assert find_vmm({"argv": ["x"]}, "--id", sample_id("another")) is None


def test_a_recycled_process_id_is_never_taken_for_it_and_never_killed(identity: tuple[str, str]) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        section = {"argv": ["x"], "pid": bystander.pid, "start_time": 1}
        assert find_vmm(section, *identity) is None
        end_vmm("player", None, section, ENDS_OF_ALL)
        assert find_vmm(section_of(bystander.pid), *identity) is None, "its arguments are others"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait(10)


def test_a_stubborn_one_is_killed(play: Play) -> None:
    pid = play("stubborn")
    end_vmm("player", pid, section_of(pid), ENDS_OF_ALL, 0.2)
    assert process_start_time(pid) is None


def test_one_that_does_not_end_is_an_error(play: Play) -> None:
    pid = play("stubborn")
    with pytest.raises(VmmError, match=f"player process {pid} does not end"):
        end_vmm("player", pid, section_of(pid), (signal.SIGTERM,), 0.2)


def test_one_that_ended_by_itself_is_collected(play: Play, identity: tuple[str, str]) -> None:
    pid = play()
    section = section_of(pid)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while is_process_alive(pid, section["start_time"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert find_vmm(section, *identity) is None
    end_vmm("player", None, section, ENDS_OF_ALL)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
