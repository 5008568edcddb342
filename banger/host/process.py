"""Processes of the host that outlive the daemon: known by id *and* start time, ended without a race."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from banger.helper.process import has_arguments as has_arguments
from banger.helper.process import process_start_time as process_start_time
from banger.helper.process import reap_process as reap_process
from banger.helper.process import send_signal

_PROC = Path("/proc")


def is_process_alive(pid: int, start_time: int | None) -> bool:
    """Tell whether ``pid`` is still the process that started at ``start_time``."""
    return start_time is not None and process_start_time(pid) == start_time


def find_process(*words: str) -> int | None:
    """Return the id of this user's process that has each of ``words`` as a whole argument; None when there is none."""
    wanted = {os.fsencode(word) for word in words}
    for pid, line in own_processes():
        if wanted <= set(line.split(b"\0")) and process_start_time(pid) is not None:
            return pid
    return None


def wait_named(pid: int, timeout: float = 5.0) -> None:
    """Wait until a process just started has its arguments, at most ``timeout`` seconds; exec sets them last."""
    deadline = time.monotonic() + timeout
    try:
        while not (_PROC / str(pid) / "cmdline").read_bytes() and process_start_time(pid) is not None:
            if time.monotonic() > deadline:
                return
            time.sleep(0.001)
    except OSError:  # it is gone
        return


def own_processes() -> Iterator[tuple[int, bytes]]:
    """Yield the id and the command line, NUL after each argument, of every process of this user."""
    uid = os.getuid()
    with os.scandir(_PROC) as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            try:
                if entry.stat().st_uid == uid:
                    yield int(entry.name), (_PROC / entry.name / "cmdline").read_bytes()
            except OSError:
                continue


def kill_process(
    pid: int,
    start_time: int | None,
    *,
    signals: tuple[int, ...] = (signal.SIGKILL,),
    patience: float = 5.0,
) -> bool:
    """End a process, each signal in turn with ``patience`` seconds between; true when it is gone.

    :param start_time: the process is left alone unless it started then.
    """
    return start_time is None or any(send_signal(pid, start_time, number, patience) for number in signals)


def wait_ended(pid: int, timeout: float) -> bool:
    """Wait until a process is gone, at most ``timeout`` seconds; tell whether it is."""
    deadline, began = time.monotonic() + timeout, process_start_time(pid)
    while is_process_alive(pid, began):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def inheritable_descriptors() -> list[int]:
    """Return the open descriptors from 3 on that a program started now would get: not ours, which all close on exec."""
    found = []
    for entry in list((_PROC / "self/fd").iterdir()):
        try:
            if int(entry.name) > 2 and os.get_inheritable(int(entry.name)):
                found.append(int(entry.name))
        except OSError:  # closed meanwhile, as the one that read the directory is
            continue
    return sorted(found)


def close_inherited() -> None:
    """Close what the caller of a program left open in it, from 3 on; the very first thing that a daemon does.

    A lock or the end of a pipe that stays open in a daemon is held for the daemon's life.
    """
    for descriptor in inheritable_descriptors():
        os.close(descriptor)
