"""What is taken out of the guest: patches, and commits as branches."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from banger.api import BangerError, ConflictError, GuestError, NotFoundError, UsageError
from banger_workspace.pull import Pulled, pull_branches
from banger_workspace.refs import find_conflicts, is_safe, parse_branches
from banger_workspace.relay import PackGuard
from banger_workspace.take import changed_files, write_patch

from .conftest import Local, commit_all, files_of, fingerprint, git

_LIMIT = 64 << 20


def pull(local: Local, repo: Path, *, objects: int = 10_000, wanted: tuple[str, ...] = ()) -> Pulled:
    """Pull as the command does."""
    assert local.workspace is not None
    head = local.workspace["head"]
    return pull_branches(
        local.guest, str(repo), head=head, wanted=wanted, max_size=_LIMIT, max_objects=objects
    )


def patch_of(local: Local, output: Path, base: str | None = None) -> bytes:
    """Export to a file; return the patch."""
    assert local.workspace is not None
    write_patch(local.guest, base or local.workspace["tree"], str(output), _LIMIT)
    return output.read_bytes()


def work_in_guest(local: Local) -> None:
    """Commit, edit and leave files, binary ones too."""
    (local.path / "a.txt").write_text("committed there\n")
    (local.path / "binary").write_bytes(bytes(range(256)) * 40)
    commit_all(local.path, "theirs")
    (local.path / "folder" / "b.txt").unlink()
    (local.path / "tool").write_text("#!/bin/sh\nedited\n")
    (local.path / "left over").write_text("untracked\n")
    (local.path / "ignored").write_text("never\n")


def test_the_patch_brings_everything_and_the_branch_what_is_committed(
    repo: Path, local: Local, tmp_path: Path
) -> None:
    (repo / "a.txt").write_text("dirty here\n")
    local.bring(repo)
    work_in_guest(local)
    before = fingerprint(repo)
    patch_of(local, tmp_path / "work.patch")
    pulled = pull(local, repo)
    assert [(taken.branch, taken.how) for taken in pulled.taken] == [("banger/vm/main", "new")]
    assert pulled.uncommitted and not pulled.refused
    assert fingerprint(repo) == before
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(repo), str(copy))
    git(copy, "checkout", "-q", "main")
    (copy / "a.txt").write_text("dirty here\n")
    git(copy, "apply", str(tmp_path / "work.patch"))
    expected = local.files()
    del expected["ignored"]
    assert files_of(copy) == expected
    git(copy, "fetch", "-q", "origin", "banger/vm/main:theirs")
    git(copy, "add", "-A")
    changed = set(git(copy, "diff", "--cached", "--name-only", "theirs").split("\n"))
    assert changed == {"folder/b.txt", "tool", "left over"}


def test_the_guests_index_is_as_it_was(repo: Path, local: Local, tmp_path: Path) -> None:
    local.bring(repo)
    work_in_guest(local)
    index = (local.path / ".git" / "index").read_bytes()
    patch_of(local, tmp_path / "work.patch")
    assert (local.path / ".git" / "index").read_bytes() == index
    assert [path.name for path in (local.path / ".git").glob("banger-*")] == ["banger-index"]


def test_changes_since_another_commit(repo: Path, local: Local, tmp_path: Path) -> None:
    local.bring(repo)
    work_in_guest(local)
    since = patch_of(local, tmp_path / "p", "HEAD")
    assert b"left over" in since and b"committed there" not in since
    with pytest.raises(NotFoundError, match="there is no 'nope'"):
        patch_of(local, tmp_path / "p", "nope")
    with pytest.raises(NotFoundError, match="there is no '--output=x'"):
        patch_of(local, tmp_path / "p", "--output=x")
    assert (tmp_path / "p").read_bytes() == since and not list(tmp_path.glob(".banger-*"))


def test_names_of_changed_files_are_fit_for_a_terminal(repo: Path, local: Local) -> None:
    local.bring(repo)
    for name in (b"esc\x1b[31m", b"line\nbreak", b"\xff"):
        (local.path / os.fsdecode(name)).write_text("x")
    assert local.workspace is not None
    files = changed_files(local.guest, local.workspace["tree"], _LIMIT)
    assert files == [("A", "esc?[31m"), ("A", "line?break"), ("A", "\\xff")]


def test_pulls_that_follow(repo: Path, local: Local) -> None:
    local.bring(repo)
    assert pull(local, repo).taken == ()
    work_in_guest(local)
    commit_all(local.path)
    git(local.path, "branch", "topic/x")
    assert {taken.branch: taken.how for taken in pull(local, repo).taken} == {
        "banger/vm/main": "new",
        "banger/vm/topic/x": "new",
    }
    commit_all(local.path, "more")
    assert {taken.branch: taken.how for taken in pull(local, repo).taken} == {
        "banger/vm/main": "updated",
        "banger/vm/topic/x": "unchanged",
    }
    git(local.path, "reset", "-q", "--hard", "HEAD^^")
    commit_all(local.path, "another way")
    assert [taken.how for taken in pull(local, repo, wanted=("main",)).taken] == ["rewritten"]
    with pytest.raises(UsageError, match="no branch 'nope'"):
        pull(local, repo, wanted=("nope",))


@pytest.mark.parametrize("kind", ["shallow", "sha256", "unborn", "detached"])
def test_pulls_into_repositories_of_other_kinds(repo: Path, local: Local, tmp_path: Path, kind: str) -> None:
    where = tmp_path / "other"
    if kind == "shallow":
        git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", str(where))
    elif kind == "detached":
        git(tmp_path, "clone", "-q", str(repo), str(where))
        git(where, "checkout", "-q", "--detach")
    else:
        where.mkdir()
        git(where, "init", "-q", *(["--object-format=sha256"] if kind == "sha256" else []))
        if kind == "sha256":
            commit_all(where)
    local.bring(where)
    commit_all(local.path, "theirs")
    before = fingerprint(where)
    assert [taken.how for taken in pull(local, where).taken] == ["new"]
    assert fingerprint(where) == before
    git(where, "fsck")


def test_a_branch_that_is_checked_out_stays(repo: Path, local: Local) -> None:
    local.bring(repo)
    commit_all(local.path)
    pull(local, repo)
    git(repo, "checkout", "-q", "banger/vm/main")
    commit_all(local.path)
    before = fingerprint(repo)
    with pytest.raises(ConflictError, match="is checked out here"):
        pull(local, repo)
    assert fingerprint(repo) == before


def test_a_branch_in_the_way(repo: Path, local: Local) -> None:
    git(repo, "branch", "banger")
    local.bring(repo)
    commit_all(local.path)
    with pytest.raises(ConflictError, match="clash with other branches"):
        pull(local, repo)


def plant_tree(where: Path, lines: str) -> None:
    """Make a commit on main with a tree that no honest git makes."""
    blob = git(where, "hash-object", "-w", "--stdin", input=b"[core]\n\tfsmonitor = touch /hacked\n")
    entries = b"".join(
        f"{mode} ".encode() + name.encode() + b"\0" + bytes.fromhex(blob)
        for mode, name in (line.split(" ") for line in lines.split(","))
    )
    tree = git(where, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", input=entries)
    commit = git(where, "commit-tree", "-p", "HEAD", "-m", "bad", tree)
    git(where, "update-ref", "refs/heads/bad", commit)


@pytest.mark.parametrize(
    "lines", ["100644 .git", "100644 .GIT", "100644 ..", "120000 .gitmodules", "100644 a/b"]
)
def test_trees_that_git_must_not_have(repo: Path, local: Local, lines: str) -> None:
    local.bring(repo)
    plant_tree(local.path, lines)
    refused_twice(repo, local)


def refused_twice(repo: Path, local: Local) -> None:
    """A second pull must not find the objects of the first."""
    before = fingerprint(repo)
    for _ in range(2):
        with pytest.raises(BangerError, match="nothing was taken"):
            pull(local, repo)
        assert fingerprint(repo) == before
        assert git(repo, "branch", "--format=%(refname:short)") == "main"
        git(repo, "fsck", "--strict")
        assert not list((repo / ".git" / "objects").glob("tmp_*"))


def test_a_submodule_that_would_run_something(repo: Path, local: Local) -> None:
    local.bring(repo)
    (local.path / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = -u./hacked\n')
    commit_all(local.path)
    refused_twice(repo, local)


def test_branches_that_are_not_what_the_guest_said(
    repo: Path, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.bring(repo)
    commit_all(local.path)
    tree = git(local.path, "rev-parse", "HEAD^{tree}")
    for oid in ("a" * 40, tree):
        monkeypatch.setattr(type(local.guest), "ask", lambda *_, oid=oid: f"{oid} refs/heads/main\n".encode())
        with pytest.raises(GuestError, match="nothing was taken: the guest's branches are not what it said"):
            pull(local, repo)
    assert git(repo, "branch", "--format=%(refname:short)") == "main"


def test_a_directory_for_objects_with_an_odd_name(repo: Path, local: Local) -> None:
    odd = repo.rename(repo.parent / 'a:"b\\ ü')
    local.bring(odd)
    commit_all(local.path)
    assert [taken.how for taken in pull(local, odd).taken] == ["new"]
    git(odd, "fsck", "--strict")


def test_too_many_objects_are_refused_as_the_pack_begins(repo: Path, local: Local) -> None:
    local.bring(repo)
    for number in range(50):
        (local.path / f"f{number}").write_text(str(number))
    commit_all(local.path)
    with pytest.raises(GuestError, match="wanted to send 52 objects; 20 are allowed"):
        pull(local, repo, objects=20)
    assert git(repo, "branch", "--format=%(refname:short)") == "main"


def test_refs_that_are_no_branches_stay_there(repo: Path, local: Local) -> None:
    local.bring(repo)
    commit = commit_all(local.path)
    git(local.path, "tag", "-a", "-m", "t", "v9")
    git(local.path, "update-ref", "refs/remotes/origin/x", commit)
    git(local.path, "update-ref", "refs/notes/commits", commit)
    pull(local, repo)
    refs = git(repo, "for-each-ref", "--format=%(refname)").split("\n")
    assert refs == ["refs/heads/banger/vm/main", "refs/heads/main"]


#: What git itself refuses or what a shell, a terminal, a file system or a command line takes for something else.
BAD_NAMES = (
    *(
        "a b",
        "-x",
        "x/-y",
        "x.lock",
        "a/.b",
        "..",
        "a..b",
        "@",
        "a@{1}",
        "a~1",
        "a^",
        "a:b",
        "a*",
        "a\\b",
        "",
    ),
    *(
        "a//b",
        "x.",
        "e\x1b[31m",
        "a\u202eb",
        "n" * 250,
        "/".join(["p" * 200] * 6),
        "\udcff",
        "a\nb",
        "$(x)",
        "'q'",
        "a;b",
    ),
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_refused(name: str) -> None:
    assert not is_safe(name)


@pytest.mark.parametrize(
    "name", ["main", "topic/x", "v1.2", "fix_#1".replace("#", "-"), "größe", "a@b", "x+y=z,%"]
)
def test_names_that_are_taken(name: str) -> None:
    assert is_safe(name)


@pytest.mark.parametrize(
    ("names", "existing", "clashing"),
    [
        (["a", "b"], [], []),
        (["a"], ["a/b"], ["a"]),
        (["a/b"], ["a"], ["a/b"]),
        (["a/b", "a/c"], ["x/y"], []),
        (["Main", "main"], [], ["Main", "main"]),
        (["x/Y"], ["X/y"], ["x/Y"]),
        (["A/b"], ["a"], ["A/b"]),
    ],
)
def test_names_that_clash(names: list[str], existing: list[str], clashing: list[str]) -> None:
    assert find_conflicts(names, existing) == clashing


def test_lists_of_branches_that_make_no_sense() -> None:
    oid = b"a" * 40
    assert parse_branches(b"") == ({}, [], False)
    assert parse_branches(oid + b" refs/heads/x\nuncommitted\n") == ({"x": "a" * 40}, [], True)
    assert parse_branches(oid + b" refs/heads/-x\n") == ({}, ["-x"], False)
    for said in (b"nonsense\n", b"zz refs/heads/x\n", oid + b" refs/tags/x\n", b"\xff\n"):
        with pytest.raises(GuestError, match="makes no sense"):
            parse_branches(said)
    with pytest.raises(GuestError, match="more than 256"):
        parse_branches(b"".join(oid + b" refs/heads/b%d\n" % number for number in range(300)))


def pkt(data: bytes) -> bytes:
    return f"{len(data) + 4:04x}".encode() + data


@pytest.mark.parametrize("size", [1, 3, 7, 4096])
@pytest.mark.parametrize("band", [True, False])
def test_the_guard_counts_objects_however_the_bytes_come(size: int, band: bool) -> None:
    pack = b"PACK" + (2).to_bytes(4, "big") + (1001).to_bytes(4, "big") + b"x" * 50
    body = b"".join(pkt(b"\x01" + pack[at : at + 5]) for at in range(0, len(pack), 5)) if band else pack
    said = pkt(b"a" * 40 + b" refs/heads/x\n") + b"0000" + pkt(b"NAK\n") + pkt(b"\x02hello") * band + body
    for allowed in (1000, 1001):
        guard = PackGuard(allowed)
        pieces = [said[at : at + size] for at in range(0, len(said), size)]
        if allowed == 1001:
            for piece in pieces:
                guard.feed(piece)
            continue
        with pytest.raises(GuestError, match="wanted to send 1001 objects"):
            for piece in pieces:
                guard.feed(piece)


def test_the_guard_bounds_the_list_of_refs() -> None:
    guard = PackGuard(1)
    line = pkt(b"a" * 60000)
    with pytest.raises(GuestError, match="list of refs is too long"):
        for _ in range(300):
            guard.feed(line)
    with pytest.raises(GuestError, match="spoke no git"):
        PackGuard(1).feed(b"HTTP/1.1 200")


def test_the_record_refuses_what_a_guest_could_slip_in() -> None:
    from pydantic import ValidationError

    from banger_workspace.record import Workspace

    good = {"guest_path": "/root/repo", "source": "/x", "branch": "main", "tree": "a" * 40}
    assert json.loads(Workspace(**good).model_dump_json())["tree"] == "a" * 40
    for change in ({"tree": "HEAD"}, {"tree": "a" * 40 + "\n"}, {"guest_path": "relative"}, {"more": 1}):
        with pytest.raises(ValidationError):
            Workspace(**{**good, **change})
