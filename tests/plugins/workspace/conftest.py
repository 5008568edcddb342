"""Real repositories, and a directory of this machine that plays the guest: the same script, the same git."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import banger_workspace.guest as guest_module
import banger_workspace.prepare as prepare_module
import banger_workspace.pull as pull_module
from banger.api import Ended
from banger_workspace.guest import Guest
from banger_workspace.newcomer import Newcomer
from banger_workspace.prepare import Wanted, bring, read_repository
from banger_workspace.stage import stage_repository

#: Plays the relay: git's other end is a directory here. What it says passes the same guard.
_RELAY = """
import os, subprocess, sys
from banger_workspace.relay import PackGuard
guard = PackGuard(int(sys.argv[2]))
with subprocess.Popen(["git", "upload-pack", sys.argv[1]], stdout=subprocess.PIPE) as process:
    try:
        while data := os.read(process.stdout.fileno(), 65536):
            guard.feed(data)
            os.write(1, data)
    except Exception as error:
        print(f"banger: {error}", file=sys.stderr)
        process.kill()
sys.exit(process.returncode)
"""


@pytest.fixture(autouse=True)
def _quiet_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git sees no settings but those of the tests' own user."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Tester\n\temail = tester@example.org\n[init]\n\tdefaultBranch = main\n"
        '[protocol "file"]\n\tallow = always\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(where: Path, *words: str, input: bytes | None = None) -> str:
    """Run git; it has to succeed."""
    done = subprocess.run(["git", "-C", str(where), *words], capture_output=True, input=input)
    assert done.returncode == 0, (words, done.stderr)
    return os.fsdecode(done.stdout).strip()


def commit_all(where: Path, message: str = "work") -> str:
    """Commit everything; return the commit."""
    git(where, "add", "-A")
    git(where, "commit", "-q", "--allow-empty", "-m", message)
    return git(where, "rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with two commits and files of several kinds."""
    where = tmp_path / "source"
    where.mkdir()
    git(where, "init", "-q")
    (where / "a.txt").write_text("one\n")
    commit_all(where, "first")
    (where / "folder").mkdir()
    (where / "folder" / "b.txt").write_text("two\n")
    (where / "tool").write_text("#!/bin/sh\n")
    (where / "tool").chmod(0o755)
    (where / "out").symlink_to("/etc/passwd")
    (where / ".gitignore").write_text("ignored\n*.o\n")
    commit_all(where, "second")
    return where


class Local:
    """The client, the VM ``vm`` and its guest, all in a directory."""

    def __init__(self, base: Path, way: str = "channel") -> None:
        self.base, self.way = base, way
        self.paths = SimpleNamespace(handover=base / "handover")
        self.path = base / "guest" / "repo"
        self.workspace: dict[str, Any] | None = None
        self.asked: list[str] = []

    def call(self, name: str, params: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Answer as the daemon would."""
        from banger_workspace.operations import SaveParams

        if name == "vm.workspace.save":
            self.workspace = SaveParams.model_validate(params).workspace.model_dump()
        lock = str(self.base / "workspace.lock")
        return {"vm": "vm", "id": "0" * 32, "running": True, "lock": lock, "workspace": self.workspace}

    def run_piped(
        self,
        _client: Any,
        _vm: str,
        argv: tuple[str, ...],
        *,
        input: Iterable[bytes] = (),
        take: Callable[[bytes], object] | None = None,
        limit: int = 0,
        **_options: Any,
    ) -> Ended:
        """Run it here; a hostile directory can do to us what a hostile guest can do to itself."""
        self.asked.append(argv[4])
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            try:
                for piece in input:
                    process.stdin.write(piece)
            except BrokenPipeError:
                pass
            out, errors = process.communicate()
        if take is not None:
            take(out)
        assert len(out) <= limit
        return Ended(process.returncode, b"" if take else out, errors)

    def bring(self, source: Path, *, force: bool = False, **wanted: Any) -> dict[str, Any]:
        """Prepare; return the record."""
        found = read_repository(Wanted(str(source), str(self.path), **wanted))
        if self.way == "disk" and not self.path.exists():  # as for a new VM
            newcomer = Newcomer(found)
            newcomer.tree = stage_repository(found, str(self.path), lambda stage: None)
            newcomer.arrive(self, "vm", True)
            assert self.workspace is not None
            return self.workspace
        return bring(self, "vm", found, force=force)

    def send(self, folder: str, parent: str, name: str, _progress: Any) -> None:
        """Copy a directory to where the guest has it."""
        self.asked.append("send")
        subprocess.run(["cp", "-af", f"{folder}/.", os.path.join(parent, name)], check=True)

    @property
    def guest(self) -> Guest:
        return Guest(self, "0" * 32, "vm", str(self.path))

    def files(self) -> dict[str, str | bytes]:
        """Return every file of the guest, links as their targets."""
        return files_of(self.path)


def files_of(where: Path) -> dict[str, str | bytes]:
    """Return the files below a directory but .git's: content, or a link's target."""
    found: dict[str, str | bytes] = {}
    for folder, folders, names in os.walk(where):
        folders[:] = [name for name in folders if name != ".git"]
        for name in [*names, *(name for name in folders if os.path.islink(os.path.join(folder, name)))]:
            path = Path(folder, name)
            if path == where / ".git":  # a worktree's
                continue
            key = str(path.relative_to(where))
            found[key] = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return found


@pytest.fixture
def way() -> str:
    """How repositories arrive for the first time: on the ``disk``, or through the ``channel``."""
    return "channel"


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> Local:
    """A guest that is a directory."""
    here = Local(tmp_path, way)
    monkeypatch.setattr(guest_module, "run_piped", here.run_piped)
    monkeypatch.setattr(guest_module.Guest, "send", here.send)
    monkeypatch.setattr(prepare_module, "check_guest_path", lambda path: None)
    monkeypatch.setattr(
        pull_module,
        "relay_line",
        lambda guest, size, objects: [sys.executable, "-c", _RELAY, guest.path, str(objects)],
    )
    return here


def fingerprint(where: Path) -> dict[str, Any]:
    """Return everything of a repository that nobody may change: files with times, and .git without objects and refs."""
    seen: dict[str, Any] = {}
    for folder, _, names in os.walk(where):
        for name in names:
            path = Path(folder, name)
            key = str(path.relative_to(where))
            if not key.startswith((".git/objects/", ".git/refs/heads/banger/")):
                status = path.lstat()
                content = os.readlink(path) if path.is_symlink() else path.read_bytes()
                seen[key] = (status.st_mode, status.st_mtime_ns, content)
    return seen
