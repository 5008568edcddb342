"""What QEMU says over QMP, asked of a real QEMU that has no machine in it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger_vmm_qemu import qmp


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "qmp"
    argv = ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none", "-S"]
    process = subprocess.Popen([*argv, "-qmp", f"unix:{path},server=on,wait=off"])
    deadline = time.monotonic() + 20
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, "qemu opened no socket"
        time.sleep(0.01)
    yield tmp_path
    process.kill()
    process.wait(10)


@pytest.mark.vm
def test_the_run_state_is_what_qemu_says(sockets: Path) -> None:
    assert qmp.status(sockets) == "prelaunch"


def test_a_vmm_that_is_gone_is_unknown_and_never_an_error(tmp_path: Path) -> None:
    assert qmp.status(tmp_path).startswith("unknown: ")
