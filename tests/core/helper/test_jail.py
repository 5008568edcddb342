"""Jails: what of them needs no root. What a jail is like inside is tried in tests/host, with a jailer on paper."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.errors import ConflictError, HostError
from banger.helper import jail
from banger.helper.process import has_arguments, process_start_time, send_signal
from banger.helper.requests import RemoveJail, SignalJail
from banger.host.process import wait_named

VM, OTHER = "0123456789abcdef" * 2, "f" * 32


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(jail, "_BASE", tmp_path / "jails")
    return tmp_path / "jails"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    wait_named(process.pid)
    yield process
    process.kill()
    process.wait(10)


def launched(base: Path, vm: str, pid: int, started: int) -> Path:
    """What the helper has of a process that it launched."""
    home = base / "firecracker" / vm
    (home / "root").mkdir(parents=True)
    (home / "process").write_text(f"{pid} {started}\n")
    return home


def started(process: subprocess.Popen[bytes]) -> int:
    found = process_start_time(process.pid)
    assert found is not None
    return found


def test_a_process_that_was_launched_is_ended_and_then_its_jail_goes(
    base: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    launched(base, VM, sleeper.pid, started(sleeper))
    with pytest.raises(ConflictError, match=f"{VM} is running in its jail"):
        jail.remove(RemoveJail(VM))
    assert jail.send(SignalJail(OTHER, "SIGKILL")) == {"ended": True}
    assert sleeper.poll() is None
    assert jail.send(SignalJail(VM, "SIGTERM")) == {"ended": True}
    assert process_start_time(sleeper.pid) is None
    assert jail.send(SignalJail(VM, "SIGKILL")) == {"ended": True}
    assert jail.remove(RemoveJail(VM)) == {"removed": True}
    assert jail.remove(RemoveJail(VM)) == {"removed": False}
    assert list(base.iterdir()) == []


@pytest.mark.parametrize("note", ["{pid} 1", "{pid}", "", "x y", "-1 5", "1 2 3"])
def test_a_process_that_is_another_by_now_is_left_alone(
    base: Path, sleeper: subprocess.Popen[bytes], note: str
) -> None:
    """Its id was used again, or what was noted down is no process."""
    home = launched(base, VM, 0, 0)
    (home / "process").write_text(note.format(pid=sleeper.pid))
    assert jail.send(SignalJail(VM, "SIGKILL")) == {"ended": True}
    assert jail.remove(RemoveJail(VM)) == {"removed": True}
    assert sleeper.poll() is None


def test_a_signal_is_for_the_process_that_started_then(sleeper: subprocess.Popen[bytes]) -> None:
    assert send_signal(sleeper.pid, started(sleeper) - 1, signal.SIGKILL, 0) is True
    assert sleeper.poll() is None
    assert send_signal(sleeper.pid, started(sleeper), signal.SIGSTOP, 0) is False
    assert send_signal(sleeper.pid, started(sleeper), signal.SIGKILL, 20) is True


def test_arguments_are_whole_words(sleeper: subprocess.Popen[bytes]) -> None:
    assert has_arguments(sleeper.pid, "600") and not has_arguments(sleeper.pid, "60")
    sleeper.kill()
    sleeper.wait(10)
    assert not has_arguments(sleeper.pid, "600")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with both programs, the only one on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir(mode=0o755)
    for name in ("firecracker", "jailer"):
        (folder / name).touch(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("BANGER_FIRECRACKER", raising=False)
    monkeypatch.delenv("BANGER_JAILER", raising=False)
    return folder.resolve()


def test_programs_are_found_on_path_or_beside_each_other_or_by_name(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jail.find_programs() == (programs / "firecracker", programs / "jailer")
    other = tmp_path / "other"
    other.mkdir()
    (other / "firecracker").symlink_to(programs / "firecracker")
    monkeypatch.setenv("BANGER_FIRECRACKER", str(other / "firecracker"))
    assert jail.find_programs() == (programs / "firecracker", programs / "jailer")
    (other / "jailer").touch(0o755)
    assert jail.find_programs()[1] == other.resolve() / "jailer"
    monkeypatch.setenv("BANGER_JAILER", str(programs / "jailer"))
    assert jail.find_programs()[1] == programs / "jailer"


@pytest.mark.parametrize("which", ["firecracker", "jailer"])
def test_a_program_that_is_not_there_is_one_clear_line(programs: Path, which: str) -> None:
    (programs / which).unlink()
    with pytest.raises(HostError, match="is not installed|no jailer beside it") as caught:
        jail.find_programs()
    assert "releases" in (caught.value.hint or "")


@pytest.mark.parametrize("which", ["firecracker", "jailer", "."])
@pytest.mark.parametrize("bit", [0o002, 0o020])
def test_programs_that_others_can_change_are_never_run(programs: Path, which: str, bit: int) -> None:
    place = programs / which
    os.chmod(place, place.stat().st_mode | bit)
    if bit == 0o020 and place.stat().st_gid == 0:
        jail.find_programs()  # root's own group
        return
    with pytest.raises(HostError, match="can be changed by others than root, and .* would run as root"):
        jail.find_programs()


def test_a_link_to_a_program_that_others_can_change_is_never_run(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch(0o777)
    (tmp_path / "mine").chmod(0o777)
    (programs / "jailer").unlink()
    (programs / "jailer").symlink_to(tmp_path / "mine")
    with pytest.raises(HostError, match="mine can be changed by others than root"):
        jail.find_programs()


def test_a_program_without_its_libraries_is_not_put_in_a_jail(programs: Path) -> None:
    shutil.copy(os.path.realpath("/bin/sleep"), programs / "firecracker")
    with pytest.raises(HostError, match="is linked dynamically, and there are no libraries in a jail"):
        jail.find_programs()
    (programs / "firecracker").write_bytes(b"\x7fELF\2".ljust(64, b"\0"))
    assert jail.find_programs()[0] == programs / "firecracker"


def test_a_directory_is_no_program(programs: Path) -> None:
    (programs / "jailer").unlink()
    (programs / "jailer").mkdir(0o755)
    with pytest.raises(HostError, match="is no program"):
        jail.find_programs()
