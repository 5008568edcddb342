"""What the tests of this ring share: isolated homes that run the real command line, and looking for what is left."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMAGE = KERNEL = "debian-bookworm"
#: Guests get no way out of the machine, and small ones are enough.
CONFIG = '[defaults]\nmemory = "512M"\nvcpu = 1\n\n[plugins.net-user]\nrestrict = true\n'
#: Seconds for a call that boots: generous, because the machine may be shared.
BOOT = 180.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a call of the command line gave."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode().strip()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Home:
    """One user's banger: directories of its own, its daemon, its VMs."""

    def __init__(self, base: Path, program: tuple[str, ...], *, pulled: Path | None = None) -> None:
        self.base = base
        self.program = program
        self.state = base / "s" / "banger"
        self.config = base / "cfg" / "banger" / "config.toml"
        self.env = {
            **{name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ},
            "HOME": str(base),
            "BANGER_MODE": "user",
            "XDG_STATE_HOME": str(base / "s"),
            "XDG_CACHE_HOME": str(base / "c"),
            "XDG_CONFIG_HOME": str(base / "cfg"),
        }
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(CONFIG)
        if pulled is not None:
            shutil.copytree(pulled / "s", base / "s", copy_function=_link)
            shutil.copytree(pulled / "c", base / "c", copy_function=_link)

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a call and return its process; pipes on all three unless the options say otherwise."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen([*self.program, *arguments], env=self.env, cwd="/", **{**pipes, **options})

    def __call__(self, *arguments: str, input: bytes = b"", timeout: float = BOOT) -> Result:
        """Run the command line to its end."""
        process = self.start(*arguments)
        return finish(process, input=input, timeout=timeout)

    def ok(self, *arguments: str, input: bytes = b"", timeout: float = BOOT) -> Result:
        """Run the command line; it has to succeed."""
        result = self(*arguments, input=input, timeout=timeout)
        assert result.status == 0, f"banger {' '.join(arguments)}: status {result.status}\n{result.err}"
        return result

    def exec(self, vm: str, *command: str, input: bytes = b"", timeout: float = 60.0) -> Result:
        """Run a command in a VM."""
        return self("vm", "exec", vm, "--", *command, input=input, timeout=timeout)

    def sh(self, vm: str, script: str, timeout: float = 60.0) -> str:
        """Run a shell script in a VM, which has to succeed; what it printed."""
        result = self.exec(vm, "sh", "-c", script, timeout=timeout)
        assert result.status == 0, result
        return result.text

    def show(self, vm: str) -> dict[str, Any]:
        """Return ``vm show --json``."""
        detail: dict[str, Any] = self.ok("vm", "show", vm, "--json").json
        return detail

    def vms(self) -> list[dict[str, Any]]:
        """Return ``vm list --json``."""
        vms: list[dict[str, Any]] = self.ok("vm", "list", "--json").json
        return vms

    def daemon_pid(self) -> int:
        """Return the daemon's process id; it is started when it does not run."""
        self.vms()
        pid = self.ok("daemon", "status", "--json").json["pid"]
        assert isinstance(pid, int)
        return pid

    def kill_daemon(self) -> None:
        """End the daemon with SIGKILL and wait until it is gone."""
        pid = self.locked_by()
        assert pid is not None, "no daemon runs"
        os.kill(pid, signal.SIGKILL)
        until(lambda: not is_alive(pid), 10, "the daemon survived SIGKILL")

    def locked_by(self) -> int | None:
        """Return the process id in the daemon's lock file, if that process lives."""
        try:
            pid = int((self.state / "bangerd.lock").read_text())
        except (OSError, ValueError):
            return None
        return pid if is_alive(pid) else None

    def qemus(self) -> list[int]:
        """Return the QEMU processes that use files of this home."""
        return [
            pid for pid, line in processes() if b"qemu-system" in line and os.fsencode(self.state) in line
        ]

    def leftovers(self) -> list[str]:
        """Return everything a home without VMs must not have."""
        found = [f"qemu process {pid}" for pid in self.qemus()]
        for folder in ("vms", "staging", "s"):
            directory = self.state / folder
            entries = sorted(directory.iterdir()) if directory.is_dir() else []
            found += [str(entry) for entry in entries if entry.name not in ("bangerd.sock", "stream.sock")]
        return found

    def assert_clean(self) -> None:
        """No VM, no process, no socket, no file is left."""
        assert self.vms() == []
        assert self.leftovers() == []

    def close_daemon(self) -> None:
        """Stop the daemon and wait until it is gone."""
        self("daemon", "stop", "--force", timeout=30)
        until(lambda: self.locked_by() is None, 15, "the daemon did not end")

    def close(self) -> None:
        """Delete the VMs, stop the daemon, and complain about whatever is left; what was ours is ended."""
        problems: list[str] = []
        try:
            for vm in self.vms():
                result = self("vm", "delete", vm["name"])
                problems += [f"delete: {result.err}"] if result.status else []
            with contextlib.suppress(AssertionError):
                self.close_daemon()
        finally:
            problems += self.leftovers()
            for pid in [*self.qemus(), *([self.locked_by()] if self.locked_by() else [])]:
                assert pid is not None
                problems.append(f"process {pid} had to be ended")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert not problems, problems
        shutil.rmtree(self.base, ignore_errors=True)


def finish(process: subprocess.Popen[bytes], *, input: bytes = b"", timeout: float = BOOT) -> Result:
    """Wait for a started call, bounded."""
    with process:
        try:
            out, err = process.communicate(input if process.stdin else None, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"no end after {timeout:.0f} s: {process.args!r}\n{err!r}") from None
    return Result(process.returncode, out or b"", (err or b"").decode(errors="replace"))


def _link(source: str, target: str) -> None:
    """Disks and archives are never written again, so they are linked; the database is copied."""
    if source.endswith((".ext4", "vmlinuz", ".cpio")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def processes() -> Iterator[tuple[int, bytes]]:
    """Yield id and command line of every process."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), Path(entry.path, "cmdline").read_bytes()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(condition: Callable[[], object], timeout: float, complaint: str) -> None:
    """Wait for a condition, bounded."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


def program() -> tuple[str, ...]:
    """Return the command line under test: the one installed next to this interpreter."""
    script = Path(sys.executable).with_name("banger")
    return (str(script),) if script.exists() else (sys.executable, "-P", "-m", "banger")


def missing_programs() -> list[str]:
    """Return what of the host's programs this ring cannot do without and does not find."""
    needed = ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs")
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    return [name for name in needed if shutil.which(name, path=path) is None]


class Ring:
    """The ring's directory: image and kernel pulled once, homes beside them.

    ``BANGER_TEST_STATE`` names a directory that is kept, so that the next run finds the image there.
    """

    def __init__(self) -> None:
        kept = os.environ.get("BANGER_TEST_STATE")
        self._temporary = kept is None
        self.base = Path(kept or tempfile.mkdtemp(prefix="bvm-", dir="/tmp"))
        self.base.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.pulled = self.base / f"pulled-{_recipe()}"
        self._count = 0

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other run that shares the directory make anything in it meanwhile."""
        with open(self.base / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def pull(self) -> None:
        """Build image and kernel as a user would, once; a run that was cut off leaves nothing half-made."""
        with self.alone():
            if not self.pulled.is_dir():
                self._pull()

    def _pull(self) -> None:
        making = Path(tempfile.mkdtemp(prefix="p", dir=self.base))
        home = Home(making / "h", program())
        try:
            try:
                for what in ("image", "kernel"):
                    home.ok(what, "pull", IMAGE, timeout=1500)
                home.ok("vm", "run", "--rm", "--", "true")
            finally:
                home.close_daemon()
            (home.state / "bangerd.log").unlink()
            shutil.rmtree(home.base / "c" / "banger" / "sources", ignore_errors=True)
            home.base.rename(self.pulled)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def home(self) -> Home:
        """Return a new home that has image and kernel."""
        self._count += 1
        return Home(self.base / f"{os.getpid() % 100000}.{self._count}", program(), pulled=self.pulled)

    def close(self) -> None:
        if self._temporary:
            shutil.rmtree(self.base, ignore_errors=True)


def _recipe() -> str:
    """Name what image and kernel are made of: another recipe, another pull."""
    root = Path(__file__).parents[2] / "plugins"
    total = hashlib.sha256()
    for plugin in ("banger_images_debian", "banger_kernels_debian"):
        for file in sorted((root / plugin).glob("*.*")):
            total.update(file.read_bytes())
    return total.hexdigest()[:10]
