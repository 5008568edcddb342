"""A process known by its id and start time, told signals by a descriptor; what the helper launched, and any other."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path


def process_start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot (proc(5), stat field 22); None when it has ended.

    A zombie has: nothing of it is left to release.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def has_arguments(pid: int, *words: str) -> bool:
    """Tell whether a process has each of ``words`` as a whole argument."""
    try:
        return set(map(os.fsencode, words)) <= set(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
    except OSError:
        return False


def send_signal(pid: int, started: int, number: int, patience: float) -> bool:
    """Send a process a signal, if it still is the one that started then; tell whether it has ended.

    :param patience: seconds it gets to end.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return process_start_time(pid) != started
    try:
        if process_start_time(pid) == started:  # the descriptor's: looked at after it was opened
            signal.pidfd_send_signal(descriptor, number)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(patience * 1000)
    except ProcessLookupError:
        pass  # it ended meanwhile
    finally:
        os.close(descriptor)
    reap_process(pid)
    return process_start_time(pid) != started


def reap_process(pid: int) -> None:
    """Collect the status of a process that ended, if it was our child."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
