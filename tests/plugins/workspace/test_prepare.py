"""What arrives in the guest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from banger.api import ConflictError, UsageError
from banger_workspace import archive
from banger_workspace.prepare import Wanted, check_guest_path, read_repository

from .conftest import Local, commit_all, files_of, fingerprint, git


@pytest.fixture(params=["disk", "channel"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_files_arrive_as_they_are(repo: Path, local: Local) -> None:
    (repo / "a.txt").write_text("edited\n")
    (repo / "staged.txt").write_text("staged\n")
    git(repo, "add", "staged.txt")
    (repo / "staged.txt").write_text("edited after it was staged\n")
    (repo / "folder" / "b.txt").unlink()
    (repo / "untracked").write_text("u\n")
    (repo / "ignored").write_text("i\n")
    before = fingerprint(repo)
    record = local.bring(repo)
    expected = files_of(repo)
    del expected["untracked"], expected["ignored"]
    assert local.files() == expected
    assert os.access(local.path / "tool", os.X_OK)
    assert fingerprint(repo) == before
    assert record["head"] == git(repo, "rev-parse", "HEAD") and record["branch"] == "main"
    assert git(local.path, "status", "--porcelain").split("\n") == [
        "M a.txt",
        " D folder/b.txt",
        " A staged.txt",
    ]
    assert git(local.path, "rev-list", "--count", "HEAD") == "1"


def test_untracked_files_on_request_and_ignored_ones_never(repo: Path, local: Local) -> None:
    (repo / "new").mkdir()
    (repo / "new" / "file").write_text("n\n")
    (repo / "x.o").write_text("o\n")
    (repo / "nested").mkdir()
    git(repo / "nested", "init", "-q")
    (repo / "nested" / "file").write_text("n\n")
    found = read_repository(Wanted(str(repo), include_untracked=True))
    assert found.notices() == ["note: 1 nested repositories left out"]
    assert read_repository(Wanted(str(repo))).notices() == [
        "note: 2 untracked left out (--include-untracked)"
    ]
    local.bring(repo, include_untracked=True)
    assert set(local.files()) - {"a.txt", "folder/b.txt", "tool", "out", ".gitignore"} == {"new/file"}


ODD = [
    b"new\nline",
    b"quo'te\"s",
    b"-rf",
    b"--",
    b"tab\there",
    b"back\\slash",
    b"\xff\xfe not utf-8",
    b"n" * 255,
    "ümläut".encode(),
    b" blank ",
    b"$(touch hacked)",
    b"*",
    b":(top)magic",
    b"deep/" + b"d" * 200 + b"/" + b"e" * 255,
]


@pytest.mark.parametrize("state", ["committed", "staged", "untracked"])
def test_odd_names(repo: Path, local: Local, state: str) -> None:
    for number, name in enumerate(ODD):
        path = repo / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    if state == "committed":
        commit_all(repo)
        for name in ODD[:3]:
            os.unlink(os.path.join(os.fsencode(repo), name))
    elif state == "staged":
        git(repo, "add", "-A")
    local.bring(repo, include_untracked=True)
    assert local.files() == files_of(repo)


def test_a_link_is_a_link_and_nothing_behind_it_is_read(repo: Path, local: Local, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.txt").write_text("secret\n")
    shutil.rmtree(repo / "folder")
    (repo / "folder").symlink_to(outside)
    (repo / "a.txt").unlink()
    (repo / "a.txt").symlink_to(outside / "b.txt")
    local.bring(repo, include_untracked=True)
    files = local.files()
    assert files["folder"] == str(outside) and files["a.txt"] == str(outside / "b.txt")
    assert b"secret\n" not in files.values()


def test_a_file_where_a_directory_was_and_the_other_way_round(repo: Path, local: Local) -> None:
    shutil.rmtree(repo / "folder")
    (repo / "folder").write_text("a file now\n")
    (repo / "a.txt").unlink()
    (repo / "a.txt").mkdir()
    (repo / "a.txt" / "inside").write_text("i\n")
    git(repo, "add", "-A")
    local.bring(repo)
    assert local.files() == files_of(repo)


def test_a_second_time_only_what_is_new_travels(repo: Path, local: Local) -> None:
    local.bring(repo)
    (repo / "a.txt").write_text("again\n")
    (repo / "tool").unlink()
    second = commit_all(repo)
    (repo / "folder" / "b.txt").write_text("dirty\n")
    local.bring(repo)
    assert local.files() == files_of(repo)
    assert git(local.path, "rev-parse", "HEAD") == second
    git(repo, "checkout", "-q", ".")
    local.bring(repo)
    assert local.files() == files_of(repo) and git(local.path, "status", "--porcelain") == ""


def test_files_alone_travel_in_one_call(repo: Path, local: Local) -> None:
    local.bring(repo)
    for content in ("one", "two"):
        (repo / "a.txt").write_text(f"{content}\n")
        (repo / "folder" / "b.txt").unlink(missing_ok=True)
        local.asked.clear()
        local.bring(repo)
        assert local.asked == ["refill"] and local.files() == files_of(repo)
    (local.path / "tool").write_text("the guest's own\n")
    local.asked.clear()
    with pytest.raises(ConflictError, match="has changes of its own"):
        local.bring(repo)
    assert local.asked == ["refill"] and local.files()["tool"] == b"the guest's own\n"
    local.bring(repo, force=True)
    assert local.files() == files_of(repo)


@pytest.mark.parametrize("how", ["edited", "new file", "committed", "committed elsewhere"])
def test_work_of_the_guest_is_not_thrown_away(repo: Path, local: Local, how: str) -> None:
    local.bring(repo)
    (local.path / ("a.txt" if how == "edited" else "new.txt")).write_text("precious\n")
    if how.startswith("committed"):
        commit_all(local.path)
    if how == "committed elsewhere":
        git(local.path, "checkout", "-q", "--detach", "HEAD^")
    before = local.files()
    with pytest.raises(ConflictError, match="has changes of its own"):
        local.bring(repo)
    assert local.files() == before
    local.bring(repo, force=True)
    assert local.files() == files_of(repo)


@pytest.mark.parametrize("lost", ["HEAD", "config", "refs"])
def test_a_repository_that_lost_its_files_is_made_anew_when_that_is_asked_for(
    repo: Path, local: Local, lost: str
) -> None:
    local.bring(repo)
    (local.path / "a.txt").write_text("work\n")
    if lost == "refs":
        shutil.rmtree(local.path / ".git" / "refs")
    else:
        (local.path / ".git" / lost).write_text("[" if lost == "config" else "")
    with pytest.raises(ConflictError, match="git cannot read .*/guest/repo in 'vm' any more"):
        local.bring(repo)
    assert local.files()["a.txt"] == b"work\n"
    local.bring(repo, force=True)
    assert local.files() == files_of(repo)
    git(local.path, "fsck", "--strict")


def test_something_else_at_the_place_is_left_alone(repo: Path, local: Local) -> None:
    local.path.mkdir(parents=True)
    (local.path / "file").write_text("mine\n")
    with pytest.raises(ConflictError, match="holds something else"):
        local.bring(repo, force=True)
    assert local.files() == {"file": b"mine\n"}


@pytest.mark.parametrize("what", ["banger_workspace.guest.Guest.send", "banger_workspace.prepare.tar_stream"])
def test_an_import_that_was_cut_off_is_made_again(
    repo: Path, local: Local, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (repo / "a.txt").write_text("edited\n")
    local.way = "channel"

    def breaks(*_: object) -> None:
        raise ConflictError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(what, breaks)
        with pytest.raises(ConflictError, match="cut"):
            local.bring(repo)
    assert local.workspace is None
    local.bring(repo)
    assert local.files() == files_of(repo)


def test_all_history_with_full_copy(repo: Path, local: Local) -> None:
    local.bring(repo, mode="full_copy")
    assert git(local.path, "rev-list", "--count", "HEAD") == "2"
    third = commit_all(repo, "third")
    local.bring(repo, mode="full_copy")
    assert git(local.path, "rev-list", "--count", third) == "3"
    git(local.path, "fsck", "--strict")


def test_the_commit_alone(repo: Path, local: Local) -> None:
    (repo / "a.txt").write_text("edited\n")
    local.bring(repo, mode="metadata_only")
    assert local.files()["a.txt"] == b"one\n"


def test_a_branch_for_the_guest(repo: Path, local: Local) -> None:
    first = git(repo, "rev-parse", "HEAD^")
    (repo / "a.txt").write_text("edited\n")
    record = local.bring(repo, branch="try/this", from_ref="HEAD^")
    assert git(local.path, "symbolic-ref", "HEAD") == "refs/heads/try/this"
    assert record["head"] == first and local.files() == {"a.txt": b"one\n"}
    assert git(repo, "branch", "--format=%(refname)") == "refs/heads/main"


def test_submodules_need_a_full_copy(repo: Path, local: Local, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    (library / "lib.c").write_text("int x;\n")
    commit_all(library)
    git(repo, "submodule", "--quiet", "add", str(library), "libs/x")
    commit_all(repo)
    with pytest.raises(UsageError, match="has submodules: libs/x"):
        local.bring(repo)
    local.bring(repo, mode="full_copy")
    assert local.files()["libs/x/lib.c"] == b"int x;\n"


@pytest.mark.parametrize("kind", ["shallow", "worktree", "sha256", "detached", "unborn", "merging", "sparse"])
def test_repositories_of_every_kind(repo: Path, local: Local, tmp_path: Path, kind: str) -> None:
    where = tmp_path / "other"
    if kind == "shallow":
        git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", str(where))
    elif kind == "worktree":
        git(repo, "worktree", "add", "-q", "-b", "side", str(where))
    elif kind in ("sha256", "unborn"):
        where.mkdir()
        git(where, "init", "-q", *(["--object-format=sha256"] if kind == "sha256" else []))
        (where / "f").write_text("f\n")
        git(where, "add", "f")
        if kind == "sha256":
            commit_all(where)
    else:
        git(tmp_path, "clone", "-q", str(repo), str(where))
    if kind == "detached":
        git(where, "checkout", "-q", "--detach")
    if kind == "sparse":
        git(where, "sparse-checkout", "set", "nothing")
    if kind == "merging":
        git(where, "checkout", "-q", "-b", "side", "HEAD^")
        (where / "a.txt").write_text("other\n")
        commit_all(where)
        git(where, "checkout", "-q", "main")
        (where / "a.txt").write_text("ours\n")
        commit_all(where)
        with pytest.raises(AssertionError):
            git(where, "merge", "side")
    before = fingerprint(where)
    for mode in ("shallow_overlay", "full_copy"):
        found = read_repository(Wanted(str(where), mode=mode))
        assert any("a merge is in progress" in note for note in found.notices()) == (kind == "merging")
        shutil.rmtree(local.path, ignore_errors=True)
        local.workspace = None
        local.bring(where, mode=mode)
        expected = files_of(where) if kind != "sparse" else files_of(repo)
        assert local.files() == expected
        git(local.path, "fsck", "--strict")
    assert fingerprint(where) == before


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_what_git_was_told_not_to_look_at_arrives_as_it_is(repo: Path, local: Local, flag: str) -> None:
    git(repo, "update-index", flag, "a.txt")
    (repo / "a.txt").write_text("mine\n")
    local.bring(repo)
    assert local.files() == files_of(repo)
    assert local.files()["a.txt"] == b"mine\n"


def test_a_partial_clone_is_refused_and_fetches_nothing(repo: Path, local: Local, tmp_path: Path) -> None:
    git(repo, "config", "uploadpack.allowFilter", "true")
    where = tmp_path / "other"
    git(tmp_path, "clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{repo}", str(where))
    before = fingerprint(where)
    with pytest.raises(
        UsageError, match="objects of this commit are not here: the repository is a partial clone"
    ):
        local.bring(where)
    assert fingerprint(where) == before


def test_filtered_content_arrives_as_it_is_here(repo: Path, local: Local) -> None:
    (repo / ".gitattributes").write_text("*.big filter=up\n")
    git(repo, "config", "filter.up.clean", "tr a-z A-Z | head -c 3")
    (repo / "x.big").write_text("content of the big file")
    commit_all(repo)
    found = read_repository(Wanted(str(repo)))
    assert found.changes.converted == 1
    local.bring(repo)
    assert local.files()["x.big"] == b"content of the big file"


def test_settings_of_the_repository_start_nothing(repo: Path, local: Local, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    script = tmp_path / "hook"
    script.write_text(f"#!/bin/sh\ntouch {trap}\n")
    script.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "diff.external", "core.sshCommand", "core.editor"):
        git(repo, "config", key, str(script))
    git(repo, "config", "core.hooksPath", str(tmp_path))
    for hook in ("post-checkout", "post-index-change", "reference-transaction"):
        shutil.copy(script, tmp_path / hook)
    trap.unlink(missing_ok=True)
    local.bring(repo, include_untracked=True)
    assert not trap.exists()


@pytest.mark.parametrize("when", ["before it is opened", "while it is read"])
def test_a_file_that_changes_meanwhile(
    repo: Path, local: Local, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    big = repo / "big"
    big.write_bytes(b"x" * 1_000_000)
    git(repo, "add", "big")
    read = os.pread

    def shrinking(descriptor: int, size: int, offset: int) -> bytes:
        os.truncate(big, 500_000)
        return read(descriptor, size, offset)

    found = read_repository(Wanted(str(repo), str(local.path)))
    if when == "while it is read":
        monkeypatch.setattr(archive.os, "pread", shrinking)
    else:
        big.unlink()
    with pytest.raises(ConflictError, match="'big' changed while it was copied"):
        list(archive.tar_stream(found.repository.top, found.changes.sent))


def test_what_cannot_be_brought(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(repo), str(tmp_path / "bare"))
    (tmp_path / "plain").mkdir()
    for path, complaint in (
        (tmp_path / "nothing", "there is no directory"),
        (tmp_path / "bare", "is a bare repository"),
        (tmp_path / "plain", "is in no git repository"),
        (repo / ".git", "is inside of a .git directory"),
    ):
        with pytest.raises(UsageError, match=complaint) as caught:
            read_repository(Wanted(str(path)))
        assert caught.value.hint
    for wanted, complaint in (
        (Wanted(str(repo), from_ref="HEAD"), "--from goes with --branch"),
        (Wanted(str(repo), branch="x", from_ref="nope"), "'nope' is no commit"),
        (Wanted(str(repo), branch="-x"), "is no name for a branch"),
        (Wanted(str(repo), branch="a..b"), "is no name for a branch"),
    ):
        with pytest.raises(UsageError, match=complaint):
            read_repository(wanted)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a repository away")
def test_somebody_elses_repository(repo: Path) -> None:
    for folder, _, names in os.walk(repo):
        os.chown(folder, 12345, 12345)
        for name in names:
            os.lchown(os.path.join(folder, name), 12345, 12345)
    with pytest.raises(UsageError, match="belongs to somebody else") as caught:
        read_repository(Wanted(str(repo)))
    assert "safe.directory" in (caught.value.hint or "")


@pytest.mark.parametrize("path", ["repo", "/", "/root", "/a/../b", "/a/", "/a\nb", "/a//b"])
def test_places_that_are_refused(path: str) -> None:
    with pytest.raises(UsageError, match="--guest-path"):
        check_guest_path(path)


def test_identity_and_origin(repo: Path, local: Local) -> None:
    git(repo, "config", "user.email", "me@work.example")
    git(repo, "remote", "add", "origin", "https://user:token@example.org/x.git")
    local.bring(repo)
    assert git(local.path, "config", "--local", "user.email") == "me@work.example"
    assert git(local.path, "config", "remote.origin.url") == "https://example.org/x.git"
    assert "token" not in (local.path / ".git" / "config").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as guests have it")
def test_readonly_takes_the_write_permission(repo: Path, local: Local) -> None:
    local.bring(repo, readonly=True)
    assert not (local.path / "a.txt").stat().st_mode & 0o222
    (repo / "a.txt").write_text("edited\n")
    local.bring(repo)
    assert local.files()["a.txt"] == b"edited\n"
