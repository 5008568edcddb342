"""Firecracker in a jail: started by its jailer as the owner, with a root directory that has what one VM needs.

Every file appears in the jail under its own name. It is the owner's file, mounted there for this process alone, so
nothing of it stays when the process ends; a VM's device is made anew. What stays is the jail's directory, which is
root's, below a directory that only root enters.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from banger.errors import BangerError, ConflictError, HostError
from banger.helper.disk import device_of, open_own
from banger.helper.mounts import apart, bind, unlock
from banger.helper.process import has_arguments, process_start_time, reap_process, send_signal
from banger.helper.program import needs_loader
from banger.helper.requests import LaunchJail, RemoveJail, ShowJail, SignalJail

#: Where jails are: ``<program's name>/<VM's id>/root``, as jailer has it.
_BASE = Path("/var/lib/bangerd-root")
_GROUPS = Path("/sys/fs/cgroup")
#: Waits for a line, which comes once it is on record, and never if the helper is cut off before that.
_HELD = ("/bin/sh", "-c", 'read -r _ && exec "$@" < /dev/null', "sh")
#: What only a program that jailer has started has on its command line.
_STARTED = "--start-time-us"
#: Seconds until jailer has started Firecracker, and for a process to end.
_START_SECONDS, _END_SECONDS = 20.0, 5.0
#: Bytes at the end of a log that its last line is looked for in.
_TAIL = 4096
_INSTALL = "https://github.com/firecracker-microvm/firecracker/releases has both, of one version"


def show(_: ShowJail) -> dict[str, Any]:
    """Say what would be launched; HostError where it could not be."""
    firecracker, jailer = find_programs()
    _make_base()
    flags = os.statvfs(_BASE).f_flag
    if flags & (os.ST_NODEV | os.ST_NOEXEC):
        raise HostError(
            f"{_BASE} is mounted nodev or noexec: no jail works there", hint=f"findmnt -T {_BASE}"
        )
    tried = _BASE / ".device"
    try:
        tried.unlink(missing_ok=True)
        os.mknod(tried, stat.S_IFCHR, os.makedev(10, 232))
        tried.unlink()
    except OSError as error:
        raise HostError(
            f"no devices can be made in {_BASE}: {error.strerror}", hint=f"ls -ld {_BASE}"
        ) from error
    return {"firecracker": str(firecracker), "jailer": str(jailer)}


def launch(request: LaunchJail, owner: int) -> dict[str, Any]:
    """Start a Firecracker, which then waits for the owner at ``<sockets>/api``."""
    firecracker, jailer = find_programs()
    for home in _homes():  # what ended by itself, whoever did not come to remove it
        if _process(home) is None:
            _remove(home)
    home = _BASE / firecracker.name / request.vm
    if home.exists():
        raise ConflictError(f"{request.vm} is running in its jail", hint="banger vm kill")
    _make_base()
    try:
        (home / "root").mkdir(parents=True, mode=0o700)
        line = [str(jailer), "--id", request.vm, "--exec-file", str(firecracker), "--uid", str(owner)]
        line += ["--gid", str(_group_of(owner)), "--chroot-base-dir", str(_BASE), "--"]
        line += ["--api-sock", f"{request.sockets}/api", "--log-path", request.log, "--level", "Warn"]
        pid, started = apart(lambda: _start(request, owner, home, line))
        _wait_started(pid, started, request.log, owner)
    except OSError as error:
        _end(request.vm)
        raise HostError(f"no jail can be made: {error.strerror}", hint=f"df -h {_BASE}; free -h") from error
    except BaseException:
        _end(request.vm)
        raise
    return {"pid": pid, "start_time": started}


def send(request: SignalJail) -> dict[str, Any]:
    """Send a VM's process a signal, and give it a few seconds to end."""
    ended = [
        send_signal(*process, signal.Signals[request.signal], _END_SECONDS)
        for home in _homes(request.vm)
        if (process := _process(home)) is not None
    ]
    return {"ended": all(ended)}


def remove(request: RemoveJail) -> dict[str, Any]:
    """Remove a VM's jail; what is not there is no error."""
    homes = list(_homes(request.vm))
    for home in homes:
        if _process(home) is not None:
            raise ConflictError(f"{request.vm} is running in its jail", hint="banger vm kill")
        _remove(home)
    return {"removed": bool(homes)}


def find_programs() -> tuple[Path, Path]:
    """Return firecracker and jailer, which nobody but root can change; HostError else.

    They are what ``BANGER_FIRECRACKER`` and ``BANGER_JAILER`` name in this process's own environment, else on its
    PATH; jailer is looked for beside firecracker as well.
    """
    found = os.environ.get("BANGER_FIRECRACKER") or shutil.which("firecracker")
    if found is None:
        raise HostError("firecracker is not installed", hint=_INSTALL)
    beside = Path(found).with_name("jailer")
    jailer = os.environ.get("BANGER_JAILER") or (str(beside) if beside.exists() else shutil.which("jailer"))
    if jailer is None:
        raise HostError("firecracker has no jailer beside it, nor on PATH", hint=_INSTALL)
    firecracker = _check_program(found)
    if needs_loader(firecracker):
        raise HostError(
            f"{found} is linked dynamically, and there are no libraries in a jail", hint=f"{_INSTALL}, static"
        )
    return firecracker, _check_program(jailer)


def _check_program(path: str) -> Path:
    """Return where a program really is; HostError where anybody but root could put another in its place."""
    real = Path(os.path.realpath(path))
    for place in (real, *real.parents):
        try:
            info = place.lstat()
        except OSError as error:
            raise HostError(f"{place}: {error.strerror}", hint="see: banger doctor") from error
        shared = info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and info.st_gid != 0)
        kept = stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX
        if info.st_uid not in (0, os.geteuid()) or (shared and not kept):
            raise HostError(
                f"{place} can be changed by others than root, and {path} would run as root",
                hint=f"sudo chown root: {place}; sudo chmod go-w {place}",
            )
    if not stat.S_ISREG(real.lstat().st_mode) or not os.access(real, os.X_OK):
        raise HostError(f"{path} is no program", hint=_INSTALL)
    return real


def _start(request: LaunchJail, owner: int, home: Path, line: list[str]) -> tuple[int, int]:
    """Start jailer with everything in its place, and note it down before it does anything."""
    root = home / "root"
    for path in (*request.read, *request.written, request.log):
        _grant(request, path, owner, root, writable=path not in request.read)
    with open_own(request.sockets, os.O_PATH, owner, stat.S_ISDIR) as folder:
        _make_folders(root, f"{request.sockets}/api")
        bind(folder, f"{root}{request.sockets}", writable=True)
    waits, goes = os.pipe()
    with (
        open(waits, "rb", 0),
        open(goes, "wb", 0) as go,
        open_own(request.console, os.O_WRONLY | os.O_APPEND, owner) as console,
        open_own(request.log, os.O_WRONLY | os.O_APPEND, owner) as log,
    ):
        actions = [(os.POSIX_SPAWN_DUP2, *pair) for pair in ((waits, 0), (console, 1), (log, 2))]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        ignored = [signal.SIGINT, signal.SIGHUP, signal.SIGPIPE]
        pid = os.posix_spawn(
            _HELD[0], [*_HELD, *line], environment, file_actions=actions, setsid=True, setsigdef=ignored
        )
        started = process_start_time(pid) or 0
        (home / "process").write_text(f"{pid} {started}\n")
        _enter_group(request.vm, pid)
        go.write(b"\n")
    return pid, started


def _grant(request: LaunchJail, path: str, owner: int, root: Path, *, writable: bool) -> None:
    """Show the jail one file, or make it the VM's own device."""
    _make_folders(root, path)
    target = f"{root}{path}"
    if path == device_of(request.vm):
        info = os.stat(path)
        if not stat.S_ISBLK(info.st_mode):
            raise HostError(f"{path} is no device", hint="dmsetup ls --tree")
        os.mknod(target, stat.S_IFBLK | 0o600, info.st_rdev)
        os.chown(target, owner, _group_of(owner))
        return
    with open_own(path, os.O_PATH, owner) as found:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        bind(found, target, writable=writable)


def _make_folders(root: Path, path: str) -> None:
    """Make the directories above a file of the jail's, which the jail passes through and does not list."""
    for folder in reversed(Path(path).parents[:-1]):
        place = Path(f"{root}{folder}")
        if not place.exists():
            place.mkdir()
            place.chmod(0o711)


def _wait_started(pid: int, started: int, log: str, owner: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not has_arguments(pid, _STARTED):
        reap_process(pid)
        if process_start_time(pid) != started:
            raise HostError(f"jailer ended at once: {_last_line(log, owner)}", hint=f"its words: {log}")
        if time.monotonic() > deadline:
            raise HostError(f"jailer did not get ready within {_START_SECONDS:.0f} s", hint=f"see {log}")
        time.sleep(0.005)


def _last_line(path: str, owner: int) -> str:
    with open_own(path, os.O_RDONLY, owner) as log:
        tail = os.pread(log, _TAIL, max(0, os.fstat(log).st_size - _TAIL))
    lines = tail.decode("ascii", "replace").strip().splitlines() or ["it printed nothing"]
    return "".join(char if char.isprintable() else "?" for char in lines[-1])[-300:]


def _homes(vm: str = "*") -> Iterator[Path]:
    """Yield the jails there are, of one VM or of all."""
    yield from _BASE.glob(f"*/{vm}")


def _process(home: Path) -> tuple[int, int] | None:
    """Return the process that was launched in a jail, with its start time; None when it has ended."""
    try:
        pid, started = map(int, (home / "process").read_text().split())
    except (OSError, ValueError):
        return None
    if pid > 0 and process_start_time(pid) == started:
        return pid, started
    if pid > 0:
        reap_process(pid)
    return None


def _end(vm: str) -> None:
    """Undo a launch, whatever came of it."""
    with contextlib.suppress(BangerError, OSError):
        send(SignalJail(vm, "SIGKILL"))
        remove(RemoveJail(vm))


def _remove(home: Path) -> None:
    try:
        shutil.rmtree(home)
    except OSError as error:
        raise HostError(
            f"{home} cannot be removed: {error.strerror}", hint=f"findmnt | grep {home}"
        ) from error
    with contextlib.suppress(OSError):
        home.parent.rmdir()  # which succeeds with the last one only
    group = _group(home.name)
    if group is not None and group.exists():
        with contextlib.suppress(OSError):  # it goes with the helper's own
            apart(lambda: _remove_group(group))


def _remove_group(group: Path) -> None:
    unlock(str(_GROUPS))
    group.rmdir()


def _make_base() -> None:
    try:
        _BASE.mkdir(mode=0o700, exist_ok=True)
        _BASE.chmod(0o700)
    except OSError as error:
        raise HostError(f"{_BASE}: {error.strerror}", hint=f"sudo mkdir {_BASE}") from error


def _group_of(owner: int) -> int:
    try:
        return pwd.getpwuid(owner).pw_gid
    except KeyError as error:
        raise HostError(f"user {owner} is not known any more", hint="getent passwd") from error


def _group(vm: str) -> Path | None:
    """Return the control group of a VM's process, below the helper's own, where that is the helper's to divide."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = _GROUPS / next(line for line in lines if line.startswith("0::/"))[4:]
        return own / vm if os.getxattr(own, "trusted.delegate") == b"1" else None
    except (OSError, StopIteration):
        return None


def _enter_group(vm: str, pid: int) -> None:
    group = _group(vm)
    if group is not None:
        unlock(str(_GROUPS))
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(pid))
