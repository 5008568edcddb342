"""Running programs of the host: found by name, bounded in time and output, translated into one error tree."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from banger.errors import HostError

#: Debian package that has a program banger or a built-in plugin runs, for the hint when it is missing.
PACKAGES = {
    "debugfs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "e2fsck": "e2fsprogs",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "resize2fs": "e2fsprogs",
    "unshare": "util-linux",
}

#: Bytes kept of what a program prints, each stream; the rest is read and dropped.
OUTPUT_LIMIT = 1024 * 1024

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
        :param env: added to a clean environment (PATH, HOME, LANG=C.UTF-8, TMPDIR and proxy variables).
        :param cancelled: asked ten times a second; true ends the program with CancelledError.
        :raises HostError: not found, timed out, or (with ``check``) a status other than 0, with the last line
            it printed.
        """


class HostCommands:
    """:class:`Commands` on the real host."""

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
        try:
            process = subprocess.Popen(
                line,
                stdin=stdin
                if stdin is not None
                else subprocess.PIPE
                if input is not None
                else subprocess.DEVNULL,
                stdout=stdout if stdout is not None else subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=make_environment(env),
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise HostError(f"{argv[0]} could not be started: {error.strerror}") from error
        out, err = _communicate(process, line, input, timeout, cancelled)
        done = Completed(tuple(line), process.returncode, out[:OUTPUT_LIMIT], err[-OUTPUT_LIMIT:])
        if check and done.status != 0:
            raise failed_program(done)
        return done


def _communicate(
    process: subprocess.Popen[bytes],
    line: list[str],
    data: bytes | None,
    timeout: float,
    cancelled: Callable[[], bool] | None,
) -> tuple[bytes, bytes]:
    import time

    from banger.errors import CancelledError

    deadline = time.monotonic() + timeout
    name = os.path.basename(line[0])
    while True:
        try:
            left = deadline - time.monotonic()
            out, err = process.communicate(data, timeout=min(left, 0.1) if cancelled else left)
            return out or b"", err or b""
        except subprocess.TimeoutExpired:
            data = None
            if cancelled is not None and cancelled():
                _kill_group(process)
                raise CancelledError(f"cancelled while {name} was running") from None
            if time.monotonic() >= deadline:
                _kill_group(process)
                raise HostError(f"{name} did not end within {timeout:.0f} s") from None
        except BaseException:
            _kill_group(process)
            raise


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()


def make_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment programs get: little of ours, so that a user's settings cannot change their output."""
    keep = (
        "PATH",
        "HOME",
        "TMPDIR",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
    )
    env = {name: os.environ[name] for name in keep if name in os.environ}
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
