"""The process of a VMM: in a session of its own, known by its command line, ended without a race."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from banger.errors import VmmError
from banger.host.process import (
    find_process,
    has_arguments,
    inheritable_descriptors,
    is_process_alive,
    kill_process,
    process_start_time,
    reap_process,
    wait_named,
)

#: Seconds a VMM gets to open its sockets.
_OPEN_TIMEOUT = 20.0


def spawn_vmm(program: str, argv: Sequence[str], *, output: Path, log: Path) -> int:
    """Start a VMM that outlives this process and has none of its descriptors; return its process id.

    :param output: where its standard output is appended. :param log: where its errors are.
    :raises VmmError: the program cannot be started.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(output), append, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, os.fspath(log), append, 0o600),
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in inheritable_descriptors()),
    ]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    ignored = [signal.SIGINT, signal.SIGHUP, signal.SIGPIPE]
    try:
        pid = os.posix_spawn(
            program, list(argv), environment, file_actions=actions, setsid=True, setsigdef=ignored
        )
    except OSError as error:
        raise VmmError(
            f"{program} could not be started: {error.strerror}", hint="see: banger doctor"
        ) from error
    wait_named(pid)  # an undo that follows at once has to know it
    return pid


def wait_vmm_open(pid: int, name: str, log: Path, is_open: Callable[[], bool]) -> None:
    """Wait until a VMM just started takes requests; VmmError with its last line when it ends, or takes too long."""
    deadline = time.monotonic() + _OPEN_TIMEOUT
    while not is_open():
        reap_process(pid)
        if process_start_time(pid) is None:
            raise VmmError(f"{name} ended at once: {_last_line(log)}", hint=f"its words: {log}")
        if time.monotonic() > deadline:
            raise VmmError(f"{name} did not open its sockets within {_OPEN_TIMEOUT:.0f} s", hint=f"see {log}")
        time.sleep(0.002)


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][-300:] if lines else "it printed nothing"


def find_vmm(section: Mapping[str, Any], *words: str) -> int | None:
    """Return the process that ``section`` records, if it still is that, else the one with ``words`` as arguments.

    :param section: what the start recorded: ``argv`` before the process, ``pid`` and ``start_time`` after it.
    """
    pid, started = section.get("pid"), section.get("start_time")
    if (
        isinstance(pid, int)
        and isinstance(started, int)
        and is_process_alive(pid, started)
        and has_arguments(pid, *words)
    ):
        return pid
    return find_process(*words) if "argv" in section else None


def end_vmm(
    name: str, pid: int | None, section: Mapping[str, Any], signals: tuple[int, ...], patience: float = 5.0
) -> None:
    """End a VMM's process, or collect the status of one that ended by itself.

    :param pid: as :func:`find_vmm` found it. :param patience: seconds that each of ``signals`` has.
    """
    recorded = section.get("pid")
    if pid is not None:
        if not kill_process(pid, process_start_time(pid), signals=signals, patience=patience):
            raise VmmError(f"{name} process {pid} does not end", hint=f"kill -9 {pid}")
    elif isinstance(recorded, int):
        reap_process(recorded)
