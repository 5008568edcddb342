"""Processes of the host, and what they have open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from banger.host.process import has_arguments, inheritable_descriptors, wait_named

_CODE = """
import os, sys
from banger.host.process import close_inherited
ours = os.open("/dev/null", os.O_RDONLY)
close_inherited()
os.fstat(ours)
print(*sorted(os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if int(name) > 2
      and os.path.exists(f"/proc/self/fd/{name}")))
"""


def test_what_the_caller_left_open_is_closed_and_what_is_ours_stays(tmp_path: Path) -> None:
    read, write = os.pipe()
    with open(tmp_path / "lock", "w") as lock:
        done = subprocess.run(
            [sys.executable, "-c", _CODE],
            pass_fds=(lock.fileno(), write),
            capture_output=True,
            text=True,
            timeout=30,
        )
        os.close(write)
        assert done.stdout == "/dev/null\n", done.stderr
    os.close(read)


def test_a_process_is_waited_for_until_it_has_arguments() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        wait_named(process.pid)
        assert has_arguments(process.pid, "600")
        process.kill()
    wait_named(process.pid)  # and one that is gone not at all


def test_what_a_started_program_would_get(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        assert file.fileno() not in inheritable_descriptors()
        os.set_inheritable(file.fileno(), True)
        assert file.fileno() in inheritable_descriptors()
