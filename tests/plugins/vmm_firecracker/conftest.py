from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: The real program, where there is one.
REAL = os.environ.get("BANGER_TEST_FIRECRACKER") or shutil.which("firecracker")
PLAYER = Path(__file__).with_name("player.py")


@pytest.fixture
def player(tmp_path: Path) -> Path:
    """A program that plays Firecracker."""
    program, interpreter = tmp_path / "firecracker", tmp_path / "python"
    interpreter.symlink_to(sys.executable)  # whose own path may have a space, which no #! line can
    program.write_text(f"#!{interpreter} -IS\n{PLAYER.read_text()}")
    program.chmod(0o755)
    return program


@pytest.fixture(params=["player", "real"])
def program(request: pytest.FixtureRequest) -> Path:
    """The player, and the real program: what one answers, the other does."""
    if request.param == "player":
        found: Path = request.getfixturevalue("player")
        return found
    if REAL is None:
        pytest.skip("no firecracker on PATH, and none that BANGER_FIRECRACKER names")
    return Path(REAL)


@pytest.fixture
def serve(program: Path, tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Start a program; its API's socket."""
    running: list[subprocess.Popen[bytes]] = []

    def start() -> Path:
        path = tmp_path / f"api{len(running)}"
        running.append(subprocess.Popen([program, "--id", "x", "--api-sock", path]))
        deadline = time.monotonic() + 20
        while not path.exists():
            assert time.monotonic() < deadline and running[-1].poll() is None
            time.sleep(0.01)
        return path

    yield start
    for process in running:
        process.kill()
        process.wait(10)
