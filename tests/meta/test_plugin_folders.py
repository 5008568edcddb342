"""What every folder in plugins/ has."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENTRY_POINTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "entry-points"
]["banger"]
FOLDERS = sorted(path for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_plugin_folder(folder: Path) -> None:
    assert folder.name.startswith("banger_")
    short = folder.name.removeprefix("banger_")
    assert ENTRY_POINTS.get(short.replace("_", "-")) == folder.name
    readme = folder / "README.md"
    assert readme.exists(), "a README says what it is for, its options and its steps"
    assert len(readme.read_text().splitlines()) <= 30
    tests = ROOT / "tests/plugins" / short
    assert list(tests.glob("test_*.py")), f"no tests in tests/plugins/{short}"


def test_every_entry_point_has_its_folder() -> None:
    assert sorted(ENTRY_POINTS.values()) == ["banger.core", *(folder.name for folder in FOLDERS)]
