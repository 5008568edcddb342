"""The guest's repository made on the host: a repository that lies about itself writes nowhere else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from banger_workspace.prepare import Wanted, read_repository
from banger_workspace.stage import stage_repository

from .conftest import commit_all, fingerprint, git


def stage(repo: Path, top: Path) -> str:
    return stage_repository(read_repository(Wanted(str(repo))), str(top), lambda stage: None)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory that links of the repository lead to."""
    where = tmp_path / "outside"
    where.mkdir()
    (where / "b").write_text("mine\n")
    return where


def test_a_file_behind_a_link_of_the_commit_is_not_removed(repo: Path, outside: Path, tmp_path: Path) -> None:
    (repo / "sub").symlink_to(outside)
    commit_all(repo)
    blob = git(repo, "hash-object", "-w", "a.txt")
    git(repo, "rm", "-q", "--cached", "sub")
    git(repo, "update-index", "--add", "--cacheinfo", f"100644,{blob},sub/b")
    stage(repo, tmp_path / "staged")
    assert (outside / "b").read_text() == "mine\n"


def test_nothing_is_written_through_a_link_of_the_commit(repo: Path, outside: Path, tmp_path: Path) -> None:
    (repo / "sub").symlink_to(outside)
    commit_all(repo)
    (repo / "sub").unlink()
    (repo / "sub").mkdir()
    (repo / "sub" / "b").write_text("theirs\n")
    git(repo, "add", "-A")
    stage(repo, tmp_path / "staged")
    assert (outside / "b").read_text() == "mine\n"
    assert (tmp_path / "staged" / "sub" / "b").read_text() == "theirs\n"


def test_git_in_the_guest_takes_the_files_for_what_they_are(repo: Path, tmp_path: Path) -> None:
    before = fingerprint(repo)
    top = tmp_path / "staged"
    stage(repo, top)
    assert fingerprint(repo) == before
    copy = tmp_path / "copy"  # other inodes, as on a work disk
    shutil.copytree(top, copy, symlinks=True)
    assert git(copy, "diff-files", "--name-only") == ""
    (copy / "a.txt").write_text("TWO\n")
    assert git(copy, "status", "--porcelain") == "M a.txt"
    assert git(copy, "fsck", "--strict") == "" and git(copy, "rev-list", "--count", "HEAD") == "1"


def test_a_file_as_old_as_the_checkout_is_not_taken_for_the_commits(repo: Path, tmp_path: Path) -> None:
    (repo / "a.txt").write_text("uno\n")  # as long as the one of the commit, and from this very second
    top = tmp_path / "staged"
    stage(repo, top)
    assert git(top, "status", "--porcelain") == "M a.txt"
    assert (top / "a.txt").read_text() == "uno\n"
