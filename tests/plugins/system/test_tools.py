"""Copies of newuidmap and newgidmap that may do one thing more than any program, and no other."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from banger.testing.fakes import FakeCommands
from banger_system.tools import find_stale, make_tools


class Programs(FakeCommands):
    """Finds two programs in a directory of the test's."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def find(self, program: str) -> str | None:
        path = self.folder / program
        return str(path) if path.exists() else None


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "newuidmap").write_bytes(b"one")
    return Programs(folder)


def test_capabilities_are_those_of_the_manual(tmp_path: Path, programs: Programs) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it gives files capabilities")
    (programs.folder / "newgidmap").write_bytes(b"two")
    make_tools(tmp_path / "bin", programs)
    copies = [str(tmp_path / "bin" / name) for name in ("newgidmap", "newuidmap")]
    assert [os.stat(copy).st_mode & 0o7777 for copy in copies] == [0o755, 0o755]
    if (getcap := shutil.which("getcap", path="/usr/sbin:/sbin:/usr/bin")) is not None:
        said = subprocess.run([getcap, *copies], capture_output=True, text=True, check=True).stdout
        assert said.splitlines() == [f"{copies[0]} cap_setgid=ep", f"{copies[1]} cap_setuid=ep"]


def test_what_the_host_lacks_is_left_out_and_what_is_newer_is_said(
    tmp_path: Path, programs: Programs
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it gives files capabilities")
    make_tools(tmp_path / "bin", programs)
    assert [path.name for path in (tmp_path / "bin").iterdir()] == ["newuidmap"]
    assert find_stale(tmp_path / "bin", programs) == []
    (programs.folder / "newuidmap").write_bytes(b"newer")
    (programs.folder / "newgidmap").write_bytes(b"new")
    assert find_stale(tmp_path / "bin", programs) == ["newuidmap", "newgidmap"] or find_stale(
        tmp_path / "bin", programs
    ) == ["newgidmap", "newuidmap"]
