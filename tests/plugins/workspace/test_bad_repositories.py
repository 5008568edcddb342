"""Repositories in a bad way: brought as they are, or refused in a line; on the host not a byte is changed for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from banger.api import BangerError, ConflictError, UsageError
from banger_workspace.prepare import Wanted, read_repository

from .conftest import Local, commit_all, files_of, fingerprint, git

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "ab" * 32 + "\nsize 123456\n"


def everything(where: Path) -> dict[str, object]:
    """Return all of a repository, its objects included."""
    objects = where / ".git" / "objects"
    return {**fingerprint(where), **{str(path): path.stat().st_mtime_ns for path in objects.rglob("*")}}


def test_somebody_elses_lock_is_neither_waited_for_nor_taken(repo: Path, local: Local) -> None:
    (repo / ".git" / "index.lock").write_text("another git is at it\n")
    (repo / "a.txt").write_text("edited\n")
    before = everything(repo)
    local.bring(repo)
    assert local.files() == files_of(repo) and everything(repo) == before


@pytest.mark.parametrize("broken", ["index", "HEAD", "commit", "tree"])
def test_a_broken_repository_is_refused_in_a_line(repo: Path, local: Local, broken: str) -> None:
    if broken in ("index", "HEAD"):
        (repo / ".git" / broken).write_bytes(b"\0\xff nonsense\n")
    else:
        oid = git(repo, "rev-parse", "HEAD" if broken == "commit" else "HEAD:folder")
        (repo / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    before = everything(repo)
    for way in ("channel", "disk"):
        local.way = way
        shutil.rmtree(local.path, ignore_errors=True)
        with pytest.raises(BangerError) as caught:
            local.bring(repo)
        assert "\n" not in caught.value.message and caught.value.hint
    assert everything(repo) == before and local.workspace is None


@pytest.mark.parametrize("mode", ["shallow_overlay", "full_copy"])
def test_a_partial_clone_brings_what_is_here(repo: Path, local: Local, tmp_path: Path, mode: str) -> None:
    git(repo, "config", "uploadpack.allowFilter", "true")
    where = tmp_path / "other"
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{repo}", str(where))
    for content in ("never checked out there", "newer"):
        (repo / "a.txt").write_text(f"{content}\n")
        commit_all(repo)
    git(where, "pull", "-q")
    git(repo, "config", "uploadpack.allowFilter", "false")
    before = everything(where)
    if mode == "full_copy":
        with pytest.raises(
            UsageError, match="1 objects of its history are not here: the repository is a partial"
        ):
            read_repository(Wanted(str(where), mode=mode))
    else:
        local.bring(where, mode=mode)
        assert local.files() == files_of(where)
        git(local.path, "fsck", "--strict")
    assert everything(where) == before


def test_pointers_of_lfs_arrive_as_pointers_where_lfs_never_ran(repo: Path, local: Local) -> None:
    (repo / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (repo / "model.bin").write_text(POINTER)
    commit_all(repo)
    before = everything(repo)
    assert read_repository(Wanted(str(repo))).changes.converted == 0
    local.bring(repo)
    assert local.files()["model.bin"] == POINTER.encode() and everything(repo) == before


def test_content_of_lfs_arrives_as_content(repo: Path, local: Local) -> None:
    (repo / ".gitattributes").write_text("*.bin filter=lfs -text\n")
    git(repo, "config", "filter.lfs.clean", f"printf '{POINTER}'".replace("\n", "\\n"))
    (repo / "model.bin").write_bytes(b"the model itself" * 100)
    commit_all(repo)
    assert git(repo, "cat-file", "blob", "HEAD:model.bin") == POINTER.strip()
    before = everything(repo)
    [note] = read_repository(Wanted(str(repo))).notices()
    assert "1 with filtered content (LFS, line endings) as they are here" in note
    local.bring(repo)
    assert local.files()["model.bin"] == b"the model itself" * 100 and everything(repo) == before


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_no_file_any_more_is_not_read(repo: Path, local: Local, kind: str) -> None:
    (repo / "a.txt").unlink()
    if kind == "fifo":
        os.mkfifo(repo / "a.txt")
    else:
        (repo / "a.txt").symlink_to("/dev/zero")
    if kind == "fifo":
        with pytest.raises(ConflictError, match="'a.txt'"):
            local.bring(repo)
    else:
        local.bring(repo)
        assert local.files()["a.txt"] == "/dev/zero"


def test_a_merge_with_conflicts_arrives_with_its_marks_and_without_its_index(
    repo: Path, local: Local
) -> None:
    git(repo, "checkout", "-q", "-b", "side", "HEAD^")
    (repo / "a.txt").write_text("theirs\n")
    commit_all(repo)
    git(repo, "checkout", "-q", "main")
    (repo / "a.txt").write_text("ours\n")
    (repo / "tool").unlink()
    commit_all(repo)
    with pytest.raises(AssertionError):
        git(repo, "merge", "side")
    before = everything(repo)
    [note] = read_repository(Wanted(str(repo))).notices()
    assert "a merge is in progress" in note
    local.bring(repo)
    assert "<<<<<<<" in (local.path / "a.txt").read_text()
    assert git(local.path, "ls-files", "--unmerged") == "" and everything(repo) == before
