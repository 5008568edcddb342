"""A repository goes into a VM, is worked on there, and what changed comes out; a hostile guest gets nothing for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vmring import BOOT, Home, finish, until

VM = "bench"


def git(where: Path, *words: str, ok: bool = True) -> str:
    done = subprocess.run(["git", "-C", str(where), *words], capture_output=True)
    assert done.returncode == 0 or not ok, (words, done.stderr)
    return os.fsdecode(done.stdout).strip()


def commit_all(where: Path, message: str) -> str:
    git(where, "add", "-A")
    git(where, "commit", "-q", "--allow-empty", "-m", message)
    return git(where, "rev-parse", "HEAD")


def fingerprint(where: Path) -> dict[str, Any]:
    """Return everything of a repository but objects and the branches a pull makes."""
    seen: dict[str, Any] = {}
    for folder, _, names in os.walk(where):
        for name in names:
            path = Path(folder, name)
            key = str(path.relative_to(where))
            if not key.startswith((".git/objects/", ".git/refs/heads/banger/")):
                status = path.lstat()
                seen[key] = (
                    status.st_mode,
                    status.st_mtime_ns,
                    path.read_bytes() if path.is_file() else None,
                )
    return seen


@pytest.fixture(scope="module")
def repo(banger: Home) -> Path:
    """A repository in the home of the module's user."""
    banger.base.joinpath(".gitconfig").write_text(
        "[user]\n\tname = Tester\n\temail = t@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    os.environ["HOME"], before = str(banger.base), os.environ.get("HOME")
    try:
        return make_repository(banger.base / "project")
    finally:
        if before is not None:
            os.environ["HOME"] = before


def make_repository(where: Path) -> Path:
    where.mkdir()
    git(where, "init", "-q", "-b", "main")
    git(where, "config", "user.name", "Tester")
    git(where, "config", "user.email", "t@example.org")
    (where / "a.txt").write_text("one\n")
    (where / "-dash").write_text("d\n")
    (where / "new\nline \xfc").write_text("n\n")
    (where / ".gitignore").write_text("ignored\n")
    commit_all(where, "first")
    (where / "a.txt").write_text("two\n")
    commit_all(where, "second")
    (where / "a.txt").write_text("three, not committed\n")
    (where / "untracked").write_text("stays\n")
    return where


@pytest.fixture(scope="module")
def vm(banger: Home, repo: Path) -> Iterator[str]:
    """A VM that runs with the repository in it."""
    result = banger("vm", "run", str(repo), "--name", VM, "--", "cat", "a.txt", timeout=BOOT)
    assert (result.status, result.text) == (0, "three, not committed"), result
    assert "note: 1 untracked left out (--include-untracked)" in result.err
    assert f"{VM} is still running" in result.err
    yield VM
    banger.ok("vm", "delete", VM)


def test_round_trip(banger: Home, repo: Path, vm: str, tmp_path: Path) -> None:
    before = fingerprint(repo)
    assert banger.sh(vm, "pwd") == "/root/repo"
    banger.sh(
        vm,
        "git config user.name Agent; git config user.email a@vm; echo work >> a.txt; git commit -qam theirs;"
        "rm -- -dash; echo edited >> .gitignore; echo left > 'left over';"
        "head -c 5000 /dev/urandom > bin; touch ignored",
    )
    names = banger.ok("vm", "workspace", "diff", vm, "--name-only").text.split("\n")
    assert sorted(names) == ["A bin", "A left over", "D -dash", "M .gitignore", "M a.txt"]
    patch = tmp_path / "work.patch"
    exported = banger.ok("vm", "workspace", "export", vm, "--output", str(patch))
    assert "5 files changed" in exported.err
    assert banger.ok("vm", "workspace", "export", vm).out == patch.read_bytes()
    pulled = banger.ok("vm", "workspace", "pull", vm)
    assert pulled.text.startswith(f"banger/{vm}/main ") and pulled.text.endswith(" new")
    assert "what is not committed stays there" in pulled.err
    assert fingerprint(repo) == before
    copy = tmp_path / "copy"
    shutil.copytree(repo, copy, symlinks=True)
    git(copy, "apply", str(patch))
    git(copy, "add", "-A")
    assert sorted(git(copy, "diff", "--cached", "--name-only", f"banger/{vm}/main").split("\n")) == [
        *("-dash", ".gitignore", "bin", "left over", "untracked"),
    ]
    assert git(repo, "show", f"banger/{vm}/main:a.txt") == "three, not committed\nwork"
    refused = banger("vm", "workspace", "prepare", vm)
    assert refused.status == 1 and "has changes of its own" in refused.err
    banger.ok("vm", "workspace", "prepare", vm, "--force")
    assert banger.sh(vm, "git status --porcelain; ls") != ""


def test_head_that_moved_is_said_and_brought(banger: Home, repo: Path, vm: str) -> None:
    banger.ok("vm", "workspace", "prepare", vm, "--force")
    head = commit_all(repo, "third")
    warned = banger.exec(vm, "git", "rev-parse", "HEAD")
    assert "has another HEAD" in warned.err and warned.text != head
    again = banger("vm", "exec", "--auto-prepare", vm, "--", "git", "rev-parse", "HEAD")
    assert again.text == head, again
    elsewhere = banger("vm", "exec", "--guest-path", "/tmp", vm, "--", "pwd")
    assert elsewhere.text == "/tmp"
    assert banger.exec(vm, "sh", "-c", "exit 7").status == 7
    assert banger.exec(vm, "no-such-command").status == 127


TRICKS = {
    "config": "git config core.fsmonitor 'touch /root/ran'; git config uploadpack.packObjectsHook 'touch /root/ran'",
    "hooks": "for h in post-checkout pre-commit post-merge reference-transaction; do"
    " printf '#!/bin/sh\\n' > .git/hooks/$h; chmod +x .git/hooks/$h; done",
    "attributes": "git config filter.x.smudge 'touch hacked'; echo '* filter=x' > .gitattributes; git add -A;"
    " git commit -qm attributes",
    "alternates": "echo /etc > .git/objects/info/alternates",
    "branch names": "for n in a..b -x x.lock 'e\\033[31m'; do printf '%s\\n' $(git rev-parse HEAD)"
    ' > ".git/refs/heads/$n"; done; mkdir -p .git/refs/heads/../..; true',
    "symbolic refs": "git symbolic-ref refs/heads/link refs/heads/main; ln -s /etc/passwd .git/refs/heads/pass",
    "tags": "git tag v1; git update-ref refs/remotes/origin/main HEAD; git update-ref refs/stash HEAD",
    "dot git in a tree": "b=$(echo x | git hash-object -w --stdin);"
    " perl -e 'print qq(100644 .git\\0) . pack(q(H*), shift)' $b > /var/tmp/t;"
    " t=$(git hash-object -t tree -w --literally /var/tmp/t);"
    " git update-ref refs/heads/evil $(git commit-tree -p HEAD -m e $t)",
    "submodule url": "printf '[submodule \"x\"]\\n path = x\\n url = -u./hacked\\n' > .gitmodules; git add -A;"
    " git commit -qm modules",
    "fake git": "printf '#!/bin/sh\\nhead -c 3000000 /dev/zero\\n' > /usr/local/bin/git; chmod +x /usr/local/bin/git",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_hostile_guest_changes_nothing_but_objects_and_its_branches(
    banger: Home, repo: Path, vm: str, trick: str
) -> None:
    banger.exec(vm, "rm", "-f", "/usr/local/bin/git")
    banger.exec(vm, "sh", "-c", "rm -rf /root/repo/* /root/repo/.[!.]*; rmdir /root/repo", timeout=60)
    banger.ok("vm", "workspace", "prepare", vm, str(repo))
    planted = "git config user.name A; git config user.email a@vm; git commit -q --allow-empty -m honest; "
    banger.exec(vm, "sh", "-c", planted + TRICKS[trick])
    for branch in git(repo, "branch", "--list", "banger/*", "--format=%(refname:short)").split():
        git(repo, "branch", "-q", "-D", branch)
    before, home = fingerprint(repo), sorted(os.listdir(banger.base))
    for words in (("diff",), ("export",), ("pull",)):
        result = banger("vm", "workspace", *words, vm, timeout=120)
        assert "internal error" not in result.err and "Traceback" not in result.err, result
        assert b"\x1b" not in result.err.encode()
    assert fingerprint(repo) == before and sorted(os.listdir(banger.base)) == home
    refs = git(repo, "for-each-ref", "--format=%(refname)").split("\n")
    assert all(ref == "refs/heads/main" or ref.startswith(f"refs/heads/banger/{vm}/") for ref in refs)
    git(repo, "fsck", "--strict")


def test_a_workspace_outlives_a_stop(banger: Home, repo: Path, vm: str) -> None:
    banger.exec(vm, "rm", "-f", "/usr/local/bin/git")
    banger.ok("vm", "workspace", "prepare", vm, str(repo), "--force")
    banger.sh(vm, "echo kept > kept; sync")
    banger.ok("vm", "stop", vm)
    refused = banger("vm", "workspace", "diff", vm)
    assert refused.status == 1 and "is not running" in refused.err
    banger.ok("vm", "start", "--wait", "agent", vm)
    assert banger.sh(vm, "pwd; cat kept") == "/root/repo\nkept"
    assert banger.ok("vm", "workspace", "diff", vm, "--name-only").text == "A kept"


def test_a_full_disk_is_said_and_nothing_is_lost(banger: Home, repo: Path, vm: str) -> None:
    banger.exec(vm, "rm", "-f", "/usr/local/bin/git")
    (repo / "large").write_bytes(os.urandom(4 << 20))
    git(repo, "add", "large")
    before = fingerprint(repo)
    mounted = "mkdir -p /small && mount -t tmpfs -o size=2m none /small"
    banger("vm", "exec", "-w", "/", vm, "--", "sh", "-c", mounted)
    result = banger("vm", "workspace", "prepare", vm, str(repo), "--guest-path", "/small/repo")
    assert result.status == 1 and f"the disk of '{vm}' is full" in result.err
    assert fingerprint(repo) == before
    git(repo, "rm", "-q", "-f", "large")


def test_stop_does_not_wait_for_an_import(alone: Home) -> None:
    where = make_repository(alone.base / "project")
    (where / "large").write_bytes(os.urandom(48 << 20))
    git(where, "add", "large")
    alone.ok("vm", "create", "--name", "slow", "--wait", "agent", timeout=BOOT)
    importing = alone.start("vm", "workspace", "prepare", "slow", str(where))
    lock = next((alone.state / "vms").glob("*")) / "workspace.lock"
    until(lock.exists, 60, "the import did not begin")
    until(
        lambda: alone("vm", "exec", "-w", "/", "slow", "--", "test", "-e", "/root/repo/large").status == 0,
        120,
        "no file",
    )
    waiting = alone.start("vm", "workspace", "prepare", "slow", str(where))
    time.sleep(1)
    assert importing.poll() is None and waiting.poll() is None
    alone.ok("vm", "kill", "slow")
    for process in (importing, waiting):
        result = finish(process, timeout=60)
        assert result.status == 1 and "Traceback" not in result.err and "hint:" in result.err, result
    git(where, "fsck")


def test_options_that_make_no_sense_leave_no_vm(alone: Home, tmp_path: Path) -> None:
    where = make_repository(alone.base / "project")
    for words, status, complaint in (
        ((str(tmp_path), "--", "true"), 2, "is in no git repository"),
        (("no-such-directory",), 2, "there is no directory 'no-such-directory'"),
        (("--branch", "x"), 2, "needs the PATH of a repository"),
        ((str(where), "--from", "HEAD"), 2, "--from goes with --branch"),
        ((str(where), "-d", "--rm"), 2, "--detach goes with neither"),
        ((str(where), "-d", "--", "true"), 2, "--detach goes with neither"),
        ((str(where), "true"), 2, "one argument too many: true"),
    ):
        result = alone("vm", "run", *words)
        assert result.status == status and complaint in result.err, (words, result)
    listed = alone.ok("vm", "run", str(where), "--dry-run", "--include-untracked")
    assert listed.text.split("\n") == ["-dash", ".gitignore", "a.txt", '"new\\nline \\u00fc"', "untracked"]
    assert alone.vms() == []


def test_rm_deletes_after_any_status_and_detached_only_prepares(alone: Home) -> None:
    where = make_repository(alone.base / "project")
    assert alone("vm", "run", "--rm", str(where), "--", "sh", "-c", "exit 5", timeout=BOOT).status == 5
    assert alone.vms() == []
    alone.ok("vm", "run", "-d", str(where), "--name", "back", timeout=BOOT)
    assert alone.sh("back", "cat a.txt") == "three, not committed"
