from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from banger.errors import CancelledError, HostError
from banger.host.command import (
    OUTPUT_LIMIT,
    Commands,
    Completed,
    HostCommands,
    failed_program,
    make_environment,
    missing_program,
)
from banger.host.process import find_process
from banger.testing.contracts import CommandsContract
from banger.testing.fakes import FakeCommands


class TestHostCommands(CommandsContract):
    @pytest.fixture
    def commands(self) -> Commands:
        return HostCommands()


class TestFakeCommands(CommandsContract):
    @pytest.fixture
    def commands(self) -> Commands:
        fake = FakeCommands(programs=("printf", "cat", "false", "sh", "sleep", "head"))
        fake.answer(r"^printf hello$", stdout=b"hello")
        fake.answer(r"^cat$", stdout=b"a\0b")
        fake.answer(r"^false$", status=1)
        fake.answer(r"^sh -c ", status=3, stderr=b"no\n")
        fake.answer(r"^sleep 60$", seconds=60)
        fake.answer(r"^head -c 3000000", stdout=bytes(3000000))
        return fake


def test_fake_records_what_it_is_asked(tmp_path: Path) -> None:
    fake = FakeCommands()
    made = tmp_path / "made"
    fake.answer("^touch", effect=lambda call: made.write_text(call.argv[1]))
    fake.run(["touch", "x"], timeout=1, input=b"in", env={"A": "b"}, cwd=tmp_path)
    assert fake.lines == ["touch x"]
    assert (fake.calls[0].input, fake.calls[0].env, fake.calls[0].cwd) == (b"in", {"A": "b"}, tmp_path)
    assert made.read_text() == "x"


def test_fake_last_answer_wins() -> None:
    fake = FakeCommands()
    fake.answer("^x", stdout=b"first")
    fake.answer("^x", stdout=b"second")
    assert fake.run(["x"], timeout=1).stdout == b"second"


#: Two programs in a pipeline, whose process ids end up in a file: both have to go.
_GROUP = 'sleep 60 & echo "$$ $!" > "$1"; wait'


@pytest.mark.parametrize("how", ["timeout", "cancelled"])
def test_whole_group_is_killed(tmp_path: Path, how: str) -> None:
    pids = tmp_path / "pids"
    line = ["sh", "-c", _GROUP, "sh", str(pids)]
    cancelled = (lambda: bool(pids.exists() and pids.read_text())) if how == "cancelled" else None
    with pytest.raises((HostError, CancelledError)):
        HostCommands().run(line, timeout=30 if cancelled else 0.5, cancelled=cancelled)
    both = [int(pid) for pid in pids.read_text().split()]
    assert len(both) == 2
    _wait_until(lambda: not any(_is_running(pid) for pid in both))


def test_interruption_kills_the_group_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def interrupt() -> bool:
        if pids.exists() and pids.read_text():
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        HostCommands().run(["sh", "-c", _GROUP, "sh", pids], timeout=30, cancelled=interrupt)
    _wait_until(lambda: not any(_is_running(int(pid)) for pid in pids.read_text().split()))


def test_program_that_cannot_be_noted_does_not_run(tmp_path: Path) -> None:
    words = ["sleep", "61.0625"]
    with pytest.raises(HostError, match="cannot be written: No such file") as caught:
        HostCommands(tmp_path / "gone").run(words, timeout=30)
    assert "df -h" in (caught.value.hint or "")
    _wait_until(lambda: find_process(*words) is None)


def test_note_is_there_while_the_program_runs_and_gone_afterwards(tmp_path: Path) -> None:
    done = HostCommands(tmp_path).run(["sh", "-c", 'sleep 0.3; ls "$1"; echo $$', "sh", tmp_path], timeout=20)
    note, pid = done.stdout.split()
    assert note.startswith(pid + b".")
    assert list(tmp_path.iterdir()) == []


def test_input_survives_slow_reader_with_cancellation() -> None:
    data = os.urandom(400_000)
    line = ["sh", "-c", "sleep 0.3; cat"]
    assert HostCommands().run(line, timeout=20, input=data, cancelled=lambda: False).stdout == data


def test_output_held_open_by_a_child_is_not_waited_for_longer_than_the_timeout() -> None:
    started = time.monotonic()
    with pytest.raises(HostError, match="did not end within"):
        HostCommands().run(["sh", "-c", "sleep 30 & exit 0"], timeout=0.5)
    assert time.monotonic() - started < 10


def test_last_of_errors_is_kept() -> None:
    line = ["sh", "-c", "head -c 3000000 /dev/zero >&2; echo last >&2"]
    stderr = HostCommands().run(line, timeout=20).stderr
    assert len(stderr) == OUTPUT_LIMIT
    assert stderr.endswith(b"last\n")


def test_missing_program_names_its_package() -> None:
    assert missing_program("qemu-img").hint == "sudo apt install qemu-utils"
    assert missing_program("newuidmap").hint == "sudo apt install uidmap"
    assert "install frobnicate" in str(missing_program("frobnicate").hint)


def test_program_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="broken could not be started"):
        HostCommands().run(["broken"], timeout=5)


def test_sbin_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert HostCommands().find("mke2fs") is not None


def test_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("LD_PRELOAD", "evil.so")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    env = make_environment({"EXTRA": "1"})
    assert env["LANG"] == env["LC_ALL"] == "C.UTF-8"
    assert env["http_proxy"] == "http://proxy.example:3128"
    assert env["EXTRA"] == "1"
    assert "LD_PRELOAD" not in env
    assert env["PATH"].endswith("/sbin")


def test_failure_tells_the_last_line_and_keeps_the_rest() -> None:
    error = failed_program(Completed(("/sbin/mke2fs", "x"), 1, b"out", b"one\ntwo\n\n"))
    assert str(error) == "mke2fs ended with status 1: two"
    assert error.__notes__ == ["one\ntwo"]
    assert "was killed by signal 9: out" in str(failed_program(Completed(("x",), -9, b"out", b"")))
    assert "it printed nothing" in str(failed_program(Completed(("x",), 1, b"", b"")))


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)
