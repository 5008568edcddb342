"""A repository goes into a VM, is worked on there, and what changed comes out; a hostile guest gets nothing for it."""

from __future__ import annotations

import os
import shutil
import subprocess
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


#: The refs of a clone.
ORIGINAL = {"refs/heads/main", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"}
#: What a guest plants (tricks.sh), and what a pull then says.
TRICKS = {
    "settings": "new",
    "drivers": "new",
    "hooks": "new",
    "alternates": "nothing was taken",
    "links": "new",
    "names": "new",
    "letters": "names clash",
    "directories": "names clash",
    "tree": "nothing was taken",
    "submodule": "nothing was taken",
    "objects": "objects; 50 are allowed",
    "flood": "more than it may",
    "lies": "nothing was taken",
}
_PLANT = (Path(__file__).parent / "tricks.sh").read_text()
#: For our own looks at a repository whose hooks and settings are traps.
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=", "-c", "gc.auto=0")


@pytest.fixture(scope="module")
def trapped(banger: Home, repo: Path, vm: str) -> Path:
    """A clone of the repository in which the user's own hooks and settings would tell if they were asked, too."""
    banger.ok("vm", "exec", "-w", "/", vm, "--", "rm", "-rf", "/root/repo")
    banger.ok("vm", "workspace", "prepare", vm, str(repo))
    banger.ok("vm", "exec", vm, "--", "cp", "-a", "/root/repo", "/var/tmp/honest")
    where, ran = banger.base / "trapped", f"touch {banger.base}/ran-host"
    git(repo, "clone", "-q", str(repo), str(where))
    commands = (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.alternateRefsCommand",
        "diff.external",
    )
    settings = {
        "gc.auto": "1",
        "fetch.prune": "true",
        "fetch.recurseSubmodules": "true",
        "fetch.writeCommitGraph": "1",
    }
    for key, value in {**{key: f"{ran}-{key}" for key in commands}, **settings}.items():
        git(where, "config", key, value)
    for hook in ("reference-transaction", "post-checkout", "post-index-change", "post-merge", "pre-auto-gc"):
        (where / ".git" / "hooks" / hook).write_text(f"#!/bin/sh\n{ran}-{hook}\n")
        (where / ".git" / "hooks" / hook).chmod(0o755)
    return where


@pytest.mark.parametrize("trick", TRICKS)
def test_a_hostile_guest_runs_nothing_and_writes_nothing_but_objects_and_its_branches(
    banger: Home, trapped: Path, vm: str, trick: str
) -> None:
    made = banger("vm", "exec", "-w", "/", vm, "--", "sh", "-c", _PLANT, "tricks", trick, str(banger.base))
    assert made.status == 0, made
    for ref in {*git(trapped, *_QUIET, "for-each-ref", "--format=%(refname)").split("\n")} - ORIGINAL:
        git(trapped, *_QUIET, "update-ref", "-d", ref)
    patch = banger.base / "patch"
    before, home = fingerprint(trapped), {*os.listdir(banger.base)}
    exported = banger("vm", "workspace", "export", vm, "--output", str(patch))
    pulled = banger("vm", "workspace", "pull", vm, str(trapped), "--max-objects", "50")
    for result in (exported, pulled):
        assert "internal error" not in result.err and "Traceback" not in result.err, result
        assert "\x1b" not in result.err + result.text
    patch.unlink(missing_ok=True)
    assert TRICKS[trick] in pulled.text + pulled.err, (exported, pulled)
    assert {*os.listdir(banger.base)} == home, "nothing ran here, and nothing else was written"
    assert fingerprint(trapped) == before
    refs = git(trapped, *_QUIET, "for-each-ref", "--format=%(refname)").split("\n")
    assert {ref for ref in refs if not ref.startswith(f"refs/heads/banger/{vm}/")} <= ORIGINAL
    git(trapped, *_QUIET, "fsck", "--strict")


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


@pytest.mark.long
def test_stop_does_not_wait_for_an_import(banger: Home, repo: Path, vm: str, tmp_path: Path) -> None:
    """The last of this VM: an import hangs in the guest, another waits for it, and the VM is killed."""
    banger.exec(vm, "rm", "-f", "/usr/local/bin/git")
    hangs = "#!/bin/sh\n: >/run/reached; exec sleep 1000\n"
    plant = 'printf "%s" "$1" >/usr/local/bin/tar; chmod +x /usr/local/bin/tar; sync'
    banger.ok("vm", "exec", "-w", "/", vm, "--", "sh", "-c", plant, "sh", hangs)
    words = ("vm", "workspace", "prepare", vm, str(repo), "--force")
    before = fingerprint(repo)
    importing = banger.start(*words)
    reached = ("vm", "exec", "-w", "/", vm, "--", "test", "-e", "/run/reached")
    until(lambda: banger(*reached).status == 0, 60, "the import did not reach its middle")
    said = tmp_path / "said"
    with said.open("wb") as file:
        waiting = banger.start(*words, stderr=file)
    until(lambda: "waiting for another import" in said.read_text(), 60, "the second did not wait")
    banger.ok("vm", "kill", vm)
    ended = [finish(process, timeout=60) for process in (importing, waiting)]
    for status, errors in ((ended[0].status, ended[0].err), (ended[1].status, said.read_text())):
        assert status == 1 and "Traceback" not in errors and "hint:" in errors, (ended, said.read_text())
    assert fingerprint(repo) == before
    banger.ok("vm", "start", "--wait", "agent", vm)
    banger.ok("vm", "exec", "-w", "/", vm, "--", "rm", "/usr/local/bin/tar")
    banger.ok(*words)
    assert banger.sh(vm, "cat a.txt").endswith("three, not committed")


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


@pytest.mark.long
def test_rm_deletes_after_any_status_and_detached_only_prepares(alone: Home) -> None:
    where = make_repository(alone.base / "project")
    assert alone("vm", "run", "--rm", str(where), "--", "sh", "-c", "exit 5", timeout=BOOT).status == 5
    assert alone.vms() == []
    alone.ok("vm", "run", "-d", str(where), "--name", "back", timeout=BOOT)
    assert alone.sh("back", "cat a.txt") == "three, not committed"
