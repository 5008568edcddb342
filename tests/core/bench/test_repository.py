"""The repository that is measured with."""

from __future__ import annotations

import subprocess
from pathlib import Path

from banger.bench.repository import change_files, file_name, make_repository


def git(where: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(where), *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_it_has_the_size_asked_for_and_is_always_the_same(tmp_path: Path) -> None:
    one, other = (make_repository(tmp_path / name, 60, 60_000, 5) for name in ("one", "other"))
    assert git(one, "rev-list", "--count", "HEAD") == "5"
    assert len(git(one, "ls-files").splitlines()) == 60
    sizes = [(one / file_name(number)).stat().st_size for number in range(60)]
    assert all(990 <= size <= 1010 for size in sizes), sizes
    assert git(one, "rev-parse", "HEAD") == git(other, "rev-parse", "HEAD")
    assert git(one, "status", "--porcelain") == ""
    change_files(one, range(0, 60, 20))
    assert len(git(one, "status", "--porcelain").splitlines()) == 3
