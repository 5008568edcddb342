"""Commands with a terminal, through a real pseudo-terminal of ours."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from vmring import Home

#: Its tests leave the home and the VM as they found them: see conftest.
IN_COMMONS = True


class Terminal:
    """A call of the command line on a terminal, as a person has one."""

    def __init__(
        self,
        banger: Home,
        *arguments: str,
        rows: int = 40,
        columns: int = 100,
        errors: IO[bytes] | None = None,
    ) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.seen = b""
        self.process = subprocess.Popen(
            [*banger.program, *arguments],
            env=banger.env,
            stdin=slave,
            stdout=slave,
            stderr=slave if errors is None else errors,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def expect(self, wanted: bytes, timeout: float = 60.0) -> bytes:
        """Read until ``wanted`` was seen; return and forget everything up to it."""
        deadline = time.monotonic() + timeout
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            ready = select.select([self.master], [], [], max(0.0, left))[0]
            assert ready, f"{wanted!r} did not come; there was {self.seen[-2000:]!r}"
            self.seen += os.read(self.master, 65536)
        before, found, self.seen = self.seen.partition(wanted)
        return before + found

    def attributes(self) -> list[object]:
        return termios.tcgetattr(self._slave)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def shell(banger: Home, vm: str) -> Iterator[Terminal]:
    """A shell in the VM, on a terminal of 40 rows and 100 columns."""
    terminal = Terminal(banger, "vm", "exec", vm, "--", "sh")
    terminal.expect(b"# ")
    yield terminal
    terminal.close()


def test_a_window_that_is_closed_ends_the_call_without_a_word_of_bugs(
    banger: Home, vm: str, tmp_path: Path
) -> None:
    said = tmp_path / "err"
    with open(said, "wb") as errors:
        terminal = Terminal(banger, "vm", "exec", vm, "--", "sh", errors=errors)
        terminal.expect(b"# ")
        os.close(terminal._slave)
        os.close(terminal.master)
        assert terminal.process.wait(30) not in (0, 70)
    assert "internal error" not in said.read_text() and "Traceback" not in said.read_text()


def test_size_and_resize(shell: Terminal) -> None:
    shell.type(b"stty size; tty\n")
    assert b"40 100" in shell.expect(b"/dev/pts/")
    shell.expect(b"# ")
    shell.resize(33, 77)
    deadline = time.monotonic() + 20
    seen = b""
    while b"33 77" not in seen and time.monotonic() < deadline:
        shell.type(b"stty size; echo en''d\n")
        seen = shell.expect(b"end\r\n")
    assert b"33 77" in seen


def test_ctrl_c_interrupts_the_remote_command_only(shell: Terminal) -> None:
    shell.type(b"sleep 600\n")
    shell.expect(b"sleep 600\r\n")
    time.sleep(0.5)
    shell.type(b"\x03")
    shell.expect(b"# ", timeout=20)
    shell.type(b"echo status $?\n")
    shell.expect(b"status 130\r\n", timeout=20)
    assert shell.process.poll() is None


def test_exit_status_and_our_terminal_as_it_was(shell: Terminal) -> None:
    assert shell.attributes() != shell.before, "our terminal was not made raw"
    shell.type(b"exit 5\n")
    assert shell.process.wait(30) == 5
    assert shell.attributes() == shell.before


def test_every_byte_passes_in_raw_mode(shell: Terminal) -> None:
    shell.type(
        b"stty raw -echo; echo go; head -c 256 | od -An -v -tu1 | tr -s ' \\n' ' '; stty sane; echo en''d\n"
    )
    shell.expect(b"go\n")
    time.sleep(0.5)
    shell.type(bytes(range(256)))
    words = shell.expect(b"end\r\n").split()
    assert [int(word) for word in words if word.isdigit()] == list(range(256))


def test_run_on_a_terminal_is_a_login_shell(banger: Home) -> None:
    terminal = Terminal(banger, "vm", "run", "--rm")
    try:
        terminal.expect(b"# ", timeout=180)
        terminal.type(b"echo in-$(hostname); exit 3\n")
        terminal.expect(b"in-", timeout=30)
        assert terminal.process.wait(60) == 3
    finally:
        terminal.close()
    assert all(vm["name"] == "shared" for vm in banger.vms())
