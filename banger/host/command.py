"""Running programs of the host: found by name, bounded in time and output, translated into one error tree."""

from __future__ import annotations

import contextlib
import contextvars
import os
import select
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from banger.errors import CancelledError, HostError
from banger.host.caller import find_caller
from banger.host.process import is_process_alive, process_start_time

#: Debian package that has a program banger or a built-in plugin runs, for the hint when it is missing.
PACKAGES = {
    "debugfs": "e2fsprogs",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "e2fsck": "e2fsprogs",
    "getent": "libc-bin",
    "git": "git",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "resize2fs": "e2fsprogs",
    "systemctl": "systemd",
    "tune2fs": "e2fsprogs",
    "unshare": "util-linux",
}

#: Bytes kept of what a program prints, each stream; the rest is read and dropped.
OUTPUT_LIMIT = 1024 * 1024

#: Whether the operation that this thread works for was cancelled: ends the programs it runs.
cancelled_operation: contextvars.ContextVar[Callable[[], bool] | None] = contextvars.ContextVar(
    "cancelled_operation", default=None
)

_PATH_EXTRA = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that ended: its status and what it printed."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes


class Commands(Protocol):
    """The seam: everything banger starts on the host, but VMMs, goes through this."""

    def find(self, program: str) -> str | None:
        """Return the program's path, looked up in PATH and the usual sbin directories, or None."""

    def resolve(self, program: str) -> str:
        """Return the program's path or raise HostError naming the package that has it."""

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        timeout: float,
        input: bytes | None = None,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: bool = True,
        cancelled: Callable[[], bool] | None = None,
    ) -> Completed:
        """Run a program to its end; its whole process group is killed on timeout or cancellation.

        :param timeout: seconds.
        :param env: added to a clean environment (PATH, HOME, LANG=C.UTF-8, TMPDIR, and the caller's
            proxy and certificate variables).
        :param cancelled: asked ten times a second; true ends the program with CancelledError. Without it the
            operation that runs is asked, except while something is taken back.
        :raises HostError: not found, timed out, or (with ``check``) a status other than 0, with the last line
            it printed.
        """


class HostCommands:
    """:class:`Commands` on the real host.

    :param journal: directory where running programs are noted, so that :func:`kill_leftovers` finds those that a
        killed daemon left behind; None notes nothing.
    """

    def __init__(self, journal: Path | None = None) -> None:
        self._journal = journal

    def find(self, program: str) -> str | None:
        path = os.environ.get("PATH", os.defpath)
        return shutil.which(program, path=os.pathsep.join((path, *_PATH_EXTRA)))

    def resolve(self, program: str) -> str:
        found = self.find(program)
        if found is None:
            raise missing_program(program)
        return found

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        timeout: float,
        input: bytes | None = None,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: bool = True,
        cancelled: Callable[[], bool] | None = None,
    ) -> Completed:
        line = [self.resolve(os.fspath(argv[0])), *(os.fspath(arg) for arg in argv[1:])]
        if input is not None:
            stdin = _input_file(input)
        try:
            process = subprocess.Popen(
                line,
                stdin=stdin if stdin is not None else subprocess.DEVNULL,
                stdout=stdout if stdout is not None else subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=make_environment(env),
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise HostError(f"{argv[0]} could not be started: {error.strerror}") from error
        finally:
            if input is not None and stdin is not None:
                stdin.close()
        followed = _Followed(process, line[0], timeout, cancelled or cancelled_operation.get())
        followed.finish(self._noted(process.pid))
        done = Completed(tuple(line), process.returncode, bytes(followed.stdout), bytes(followed.stderr))
        if check and done.status != 0:
            raise failed_program(done)
        return done

    @contextlib.contextmanager
    def _noted(self, pid: int) -> Iterator[None]:
        if self._journal is None:
            yield
            return
        note = self._journal / f"{pid}.{process_start_time(pid)}"
        try:
            note.touch(mode=0o600)
        except OSError as error:
            raise HostError(
                f"{note} cannot be written: {error.strerror}", hint="check free space: df -h"
            ) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # one that stays names a process that is gone
                note.unlink()


@contextlib.contextmanager
def uncancelled() -> Iterator[None]:
    """Let programs run to their end even when the operation was cancelled: for taking back what it did."""
    token = cancelled_operation.set(None)
    try:
        yield
    finally:
        cancelled_operation.reset(token)


def kill_leftovers(journal: Path) -> int:
    """End the programs, with their process groups, that a daemon which was killed left running; return how many."""
    killed = 0
    for note in journal.iterdir():
        pid, _, started = note.name.partition(".")
        if pid.isdigit() and started.isdigit() and is_process_alive(int(pid), int(started)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid), signal.SIGKILL)
                killed += 1
        note.unlink(missing_ok=True)
    return killed


def _input_file(data: bytes) -> IO[bytes]:
    """Return an anonymous file with the data: a program reads it at its own pace, and nothing has to feed it."""
    file = os.fdopen(os.memfd_create("input", os.MFD_CLOEXEC), "w+b")
    file.write(data)
    file.seek(0)
    return file


class _Followed:
    """A process while it runs: its output is kept within bounds, its time is short, and it can be cancelled."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        program: str,
        timeout: float,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._process = process
        self._name = os.path.basename(program)
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._cancelled = cancelled
        self._asked = 0.0

    def finish(self, noted: contextlib.AbstractContextManager[None]) -> None:
        """Read until both streams and the process have ended; kill its group when that is not to be.

        :param noted: holds for as long as the process runs; when it cannot be entered, the process does not run on.
        """
        try:
            with noted:
                self._follow()
        except BaseException:
            self._kill()
            raise
        finally:
            for stream in (self._process.stdout, self._process.stderr):
                if stream is not None:
                    stream.close()

    def _follow(self) -> None:
        with selectors.DefaultSelector() as selector:
            for stream, keep in (
                (self._process.stdout, self._keep_first),
                (self._process.stderr, self._keep_last),
            ):
                if stream is not None:
                    selector.register(stream, selectors.EVENT_READ, keep)
            while selector.get_map():
                self._read(selector)
        while self._process.poll() is None:
            self._check()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._patience())

    def _read(self, selector: selectors.BaseSelector) -> None:
        for key, _ in selector.select(self._patience()):
            if chunk := os.read(key.fd, 65536):
                key.data(chunk)
            else:
                selector.unregister(key.fileobj)
        self._check()

    def _keep_first(self, chunk: bytes) -> None:
        self.stdout += chunk[: OUTPUT_LIMIT - len(self.stdout)]

    def _keep_last(self, chunk: bytes) -> None:
        self.stderr += chunk
        del self.stderr[:-OUTPUT_LIMIT]

    def _patience(self) -> float:
        left = max(self._deadline - time.monotonic(), 0.0)
        return min(left, 0.1) if self._cancelled else left

    def _check(self) -> None:
        """Raise when the time is over or somebody cancelled; that is asked ten times a second."""
        now = time.monotonic()
        if self._cancelled is not None and now - self._asked >= 0.09:
            self._asked = now
            if self._cancelled():
                raise CancelledError(f"cancelled while {self._name} was running")
        if now >= self._deadline:
            raise HostError(f"{self._name} did not end within {self._timeout:.0f} s")

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # Whoever of the group still dies holds the pipe: once it is closed, nobody writes any more.
        if self._process.stderr is not None:
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                ready, _, _ = select.select([self._process.stderr], [], [], 0.5)
                if ready and not os.read(self._process.stderr.fileno(), 65536):
                    break


def make_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment programs get: little of ours, so that a user's settings cannot change their output."""
    env = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    env |= find_caller()
    env.setdefault("PATH", os.defpath)
    env["PATH"] = os.pathsep.join((env["PATH"], *_PATH_EXTRA))
    env["LANG"] = env["LC_ALL"] = "C.UTF-8"
    env.update(extra or {})
    return env


def missing_program(program: str) -> HostError:
    """Return the error for a program that is not installed, with the package that has it."""
    package = PACKAGES.get(program)
    hint = f"sudo apt install {package}" if package else f"install {program} and try again"
    return HostError(f"{program} is not installed", hint=hint)


def failed_program(done: Completed) -> HostError:
    """Return the error for a program that ended badly: the last lines it printed, as one."""
    printed = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    said = next((text.strip() for text in reversed(printed) if text.strip()), "it printed nothing")
    name = os.path.basename(done.argv[0])
    how = f"ended with status {done.status}" if done.status >= 0 else f"was killed by signal {-done.status}"
    error = HostError(f"{name} {how}: {said[:300]}")
    error.add_note("\n".join(printed[-20:]))
    return error
