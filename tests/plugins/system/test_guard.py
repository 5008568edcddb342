"""Who could change what the services run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from banger_system.guard import find_writable

ME = os.getuid()


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """``code/bin/python -> ../../python``, all of it the test's alone."""
    mask = os.umask(0o022)
    (tmp_path / "code/bin").mkdir(parents=True)
    (tmp_path / "python").write_text("")
    (tmp_path / "code/bin/python").symlink_to("../../python")
    (tmp_path / "code/module.py").write_text("")
    os.umask(mask)
    tmp_path.chmod(0o755)
    return tmp_path


def found(top: Path) -> list[str]:
    return list(find_writable([top / "code"], ME, top))


def test_a_tree_of_ones_own_is_fine(top: Path) -> None:
    assert found(top) == []


@pytest.mark.parametrize("name", ["code", "code/bin", "code/module.py", "python", "."])
def test_what_everybody_can_write_is_found(top: Path, name: str) -> None:
    (top / name).chmod(0o757)
    assert found(top) == [f"{top / name} can be written by everybody"]


def test_what_a_group_can_write_is_found(top: Path) -> None:
    module = top / "code/module.py"
    module.chmod(0o664)
    group = module.stat().st_gid
    assert found(top) == ([f"{module} can be written by group {group}"] if group else [])


def test_what_belongs_to_somebody_else_is_found(top: Path) -> None:
    module = top / "code/module.py"
    if ME == 0:
        os.chown(module, 1, -1)
    problems = list(find_writable([module], ME if ME == 0 else ME + 1, top))
    assert f"{module} belongs to user {module.stat().st_uid}" in problems


def test_a_link_that_leads_nowhere_is_found(top: Path) -> None:
    (top / "code/bin/gone").symlink_to("nowhere")
    (problem,) = found(top)
    assert problem == f"{top}/code/bin/nowhere cannot be looked at: No such file or directory"


def test_links_in_a_circle_end(top: Path) -> None:
    (top / "code/a").symlink_to("b")
    (top / "code/b").symlink_to("a")
    assert found(top) == []
