"""Standard streams as shells hand them over: closed, full, or with nobody at the other end."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from banger.testing.pytest_plugin import BangerDirs, MakeApp

BANGER = f"{shlex.quote(sys.executable)} -m banger"


def shell(line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash; ``banger`` is the program."""
    return subprocess.run(
        ["bash", "-c", line.replace("banger", BANGER)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
    )


@pytest.fixture
def lab(banger_app: MakeApp) -> None:
    banger_app(builtin=["core"])


@pytest.mark.parametrize("words", ["--version", "--help", "version", "config show", "completion bash"])
@pytest.mark.parametrize(
    ("where", "said"), [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")]
)
def test_output_that_cannot_be_written_is_an_error(lab: None, words: str, where: str, said: str) -> None:
    done = shell(f"banger {words} {where}")
    assert done.returncode == 1 and done.stdout == ""
    message, hint = done.stderr.splitlines()
    assert message == f"banger: the output cannot be written: {said}" and hint.startswith("hint: ")


@pytest.mark.parametrize("words", ["--version", "--help", "version", "config schema", "daemon status"])
def test_reader_that_is_gone_ends_it_silently_as_sigpipe_would(lab: None, words: str) -> None:
    # The sleep lets the reader be gone before the first letter.
    done = shell(f"{{ sleep 0.3; banger {words}; echo $? >&2; }} | true")
    assert done.stderr == "141\n"


def test_reader_that_goes_after_the_first_line(lab: None) -> None:
    done = shell("banger config schema | head -n 1; echo ${PIPESTATUS[0]} >&2")
    assert done.stdout == "{\n" and done.stderr in ("0\n", "141\n")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("banger vm list 2>&-", 0),
        ("banger vm list <&-", 0),
        ("banger vm list <&- >&- 2>&-", 0),
        ("banger vm show nobody 2>&-", 1),
        ("banger vm show nobody 2>/dev/full", 1),
        ("banger vm list 2>/dev/full", 0),
        ("banger vm lst 2>/dev/full", 2),
        ("banger vm lst 2>&-", 2),
        ("banger purge --dry-run <&-", 0),
        ("banger purge <&-", 2),
    ],
)
def test_closed_streams_change_no_status(lab: None, line: str, status: int) -> None:
    done = shell(line)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr


def test_no_socket_becomes_a_standard_stream(lab: None) -> None:
    """With its output closed, a program's next descriptor is number 1: the daemon would be sent what is printed."""
    done = shell("banger vm list --json >&-")
    assert done.returncode == 1 and "the output cannot be written" in done.stderr


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (0, 0), (65535, 65535)])
@pytest.mark.parametrize("words", ["--help", "vm list", "config show", "image pull no-such-image"])
def test_absurd_windows_change_no_status(lab: None, rows: int, columns: int, words: str) -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (rows, columns))
    command = [sys.executable, "-m", "banger", *words.split()]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while piece := os.read(ours, 65536):
                shown += piece
    os.close(ours)
    assert process.wait(60) == (1 if "no-such-image" in words else 0), shown
    assert b"Traceback" not in shown and b"internal error" not in shown


def test_full_disk_is_named(banger_dirs: BangerDirs) -> None:
    """A state directory on a disk of 64 KiB, in a mount namespace of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root: to mount a small disk")
    disk = banger_dirs.home / "disk"
    disk.mkdir()
    script = f"mount -t tmpfs -o size=64k none '{disk}' && {BANGER} vm list"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env={**os.environ, "XDG_STATE_HOME": str(disk)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"banger: no space left in {Path(disk) / 'banger'}: ")
    assert "hint: free some" in done.stderr and len(done.stderr.splitlines()) == 2
