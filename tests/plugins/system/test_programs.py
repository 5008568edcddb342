"""Programs that the helper launches: named in the units where they are root's alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from banger.testing.fakes import FakeCommands
from banger_system.programs import find_programs

ME = os.getuid()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with both programs, which the environment names; nothing above it is looked at."""
    for variable, name in (("BANGER_FIRECRACKER", "firecracker"), ("BANGER_JAILER", "jailer")):
        (tmp_path / name).touch(0o755)
        monkeypatch.setenv(variable, str(tmp_path / name))
    return tmp_path


def found(folder: Path) -> dict[str, str]:
    return find_programs(FakeCommands(), ME, folder)


def test_both_are_named_by_where_they_are(folder: Path) -> None:
    assert found(folder) == {
        "BANGER_FIRECRACKER": str(folder / "firecracker"),
        "BANGER_JAILER": str(folder / "jailer"),
    }


def test_one_alone_is_not_named(folder: Path) -> None:
    (folder / "jailer").unlink()
    assert found(folder) == {}


def test_one_that_others_can_change_is_not_named(folder: Path) -> None:
    (folder / "jailer").chmod(0o757)
    assert found(folder) == {}


def test_one_whose_path_a_unit_would_read_otherwise_is_not_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a b%n").touch(0o755)
    monkeypatch.setenv("BANGER_JAILER", str(folder / "a b%n"))
    assert found(folder) == {}


def test_without_either_there_is_nothing_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BANGER_FIRECRACKER", raising=False)
    monkeypatch.delenv("BANGER_JAILER", raising=False)
    assert find_programs(FakeCommands(programs=())) == {}
