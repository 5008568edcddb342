"""Starting the daemon: a session of its own, at ``/``, with a clean environment and no descriptor of ours."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
import time
from pathlib import Path

from banger.cli.client import Client
from banger.config.paths import Paths
from banger.errors import DaemonError, StaleDaemonError
from banger.host.process import inheritable_descriptors, process_start_time, wait_ended

#: What a daemon keeps of the environment of whoever started it.
_KEPT = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER")
_KEPT_PREFIXES = ("BANGER_", "XDG_")
#: What says where Python looks for packages: a daemon that finds other plugins than its clients would restart for ever.
_PYTHON = ("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONUSERBASE")
#: Seconds after which somebody who waits is told why, and how many times as long a daemon that lives may take.
_SAY_SECONDS, _BUSY = 5.0, 3
#: Proxies as everybody spells them: pulls need them.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")

#: Seconds that a daemon gets to say that it will end, and to be gone once it was killed.
_STOP_SECONDS = 10.0
#: Seconds that it then gets to undo what is under way: a little more than it takes itself (banger.daemon.main).
_END_SECONDS = 35.0


def start_daemon(paths: Paths, timeout: float) -> socket.socket:
    """Start the daemon and return a connection to it; DaemonError with what it said when it does not come up.

    :param timeout: seconds; where no other daemon has the state directory, three times as long.
    """
    errors = paths.state / "bangerd.err"
    pid = _spawn(errors)
    began, ended, waiting = time.monotonic(), False, _SAY_SECONDS
    while (passed := time.monotonic() - began) < timeout or (
        passed < _BUSY * timeout and daemon_pid(paths) in (None, pid)
    ):
        if passed >= waiting and sys.stderr.isatty():
            waiting = 2 * timeout * _BUSY
            print("the daemon is starting; this host is busy", file=sys.stderr)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(paths.daemon_socket))
            return connection
        except OSError:
            connection.close()
        if ended:
            raise _failed(errors)
        ended = os.waitpid(pid, os.WNOHANG)[0] == pid
        time.sleep(0.005 if passed < 1 else 0.05)
    other = daemon_pid(paths)
    if other not in (None, pid):
        raise DaemonError(
            f"the daemon (process {other}) does not answer",
            hint="end it: banger daemon stop --force (VMs go on)",
        )
    raise DaemonError(
        f"the daemon did not answer within {_BUSY * timeout:.0f} s", hint=f"its log: {paths.log}"
    )


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.upper() in _PROXIES or name.startswith(_KEPT_PREFIXES)
    }
    kept |= {name: os.environ[name] for name in _PYTHON if name in os.environ}
    if path := kept.get("PYTHONPATH"):  # means what it means here, although the daemon lives in /
        kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(folder) for folder in path.split(os.pathsep))
    return kept | {"BANGER_MODE": "user"}  # nobody but a service manager starts the host's


def _interpreter() -> list[str]:
    """Return how Python is to be started so that it finds the packages that we find, the current directory's never."""
    ignored = ["-E"] if sys.flags.ignore_environment else []
    return [sys.executable, "-P", *ignored, *(["-s"] if sys.flags.no_user_site else [])]


def _spawn(errors: Path) -> int:
    argv, environment = [*_interpreter(), "-m", "banger.daemon.main"], _environment()
    try:
        output = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise DaemonError(
            f"{errors} cannot be written: {error.strerror}",
            hint=f"check free space, the state directory's owner, and that {errors.name} is a plain file",
        ) from error
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in inheritable_descriptors()),
    ]
    here = os.getcwd() if os.path.isdir(".") else "/"
    os.chdir("/")
    try:
        return os.posix_spawn(
            sys.executable,
            argv,
            environment,
            file_actions=actions,
            setsid=True,
            setsigdef=[signal.SIGINT, signal.SIGPIPE],
            setsigmask=[],
        )
    finally:
        os.chdir(here)
        os.close(output)


def daemon_pid(paths: Paths) -> int | None:
    """Return the process that holds the state directory's lock, whether it answers or not."""
    try:
        pid = int(paths.lock.read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    is_ours = b"banger.daemon.main" in command or b"bangerd" in command
    return pid if is_ours and process_start_time(pid) is not None else None


def kill_daemon(paths: Paths, timeout: float) -> bool:
    """End a daemon that does not answer; its VMs go on. False when there is none.

    :param timeout: seconds until it has to be gone.
    :raises DaemonError: it stays.
    """
    pid = daemon_pid(paths)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    if not wait_ended(pid, timeout):
        raise DaemonError(f"the daemon (process {pid}) does not end", hint=f"look at it: ps {pid}")
    return True


def end_daemon(client: Client, *, force: bool) -> bool:
    """Ask the daemon to end and wait until it is gone; false when none runs."""
    pid = daemon_pid(client.paths)
    try:
        client.peek("daemon.stop", _STOP_SECONDS, {"force": force})
    except StaleDaemonError:  # it ends already
        pass
    except DaemonError as error:
        if pid is None:
            return False
        if not force:
            raise DaemonError(
                f"the daemon (process {pid}) does not answer: {error.message}",
                hint="end it: banger daemon stop --force (VMs go on)",
            ) from error
        return kill_daemon(client.paths, _STOP_SECONDS)
    if pid is not None and not wait_ended(pid, _END_SECONDS):
        if not force:
            raise DaemonError(
                f"the daemon (process {pid}) does not end", hint="banger daemon stop --force (VMs go on)"
            )
        kill_daemon(client.paths, _STOP_SECONDS)
    return True


def _failed(errors: Path) -> DaemonError:
    try:
        lines = errors.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    if (full := _no_space(errors)) is not None:
        return full
    said = next(
        (line for line in lines if line.startswith("bangerd: ")), lines[-1] if lines else "it said nothing"
    )
    hint = next((line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")), None)
    message = said.removeprefix("bangerd: ")
    return DaemonError(
        message if hint else f"the daemon ended at once: {message}", hint=hint or f"see {errors}"
    )


#: Bytes that a file system without room for them has no use for a daemon: less would fit into a block already taken.
_PROBE = 256 * 1024


def _no_space(errors: Path) -> DaemonError | None:
    """Return what to say when the daemon could not even write why it ended: the disk, or the quota, is full."""
    probe = errors.with_suffix(".probe")
    try:
        with open(probe, "xb") as file:
            file.write(bytes(_PROBE))
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return None
        return DaemonError(
            f"no space left in {errors.parent}: the daemon could not start",
            hint=f"free some (df -h {errors.parent}), or set XDG_STATE_HOME to another disk",
        )
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return None
