"""The guest's repository, made on the host: a directory that goes into a VM as it is, without work for the guest.

Nothing here runs a program that a repository names: git sees no settings but ours, so no filter and no hook, and files
are written by us without following any link.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from banger.api import HostError
from banger_workspace.archive import Tree, guest_mode, open_entry
from banger_workspace.git import Git
from banger_workspace.prepare import write_pack

if TYPE_CHECKING:
    from banger_workspace.prepare import Import

#: What git must not see of whoever calls: the guest's git does not see it either, so both come to the same files.
_ALONE = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
}
#: Git looks at size and time only: inode numbers and the like are others in the guest, where all would be read again.
_CONFIG = {"core.checkStat": "minimal", "core.trustctime": "false"}

Notice = Callable[[str], object]


def stage_repository(found: Import, top: str, notice: Notice) -> str:
    """Make the guest's repository in a new directory; return the tree of all its files.

    :param notice: called with what is done now.
    :raises ConflictError: a file changed while it was copied. :raises HostError: no space.
    """
    before = os.umask(0o022)
    try:
        Path(top).mkdir(parents=True)
        return _Stage(found, top).make(notice)
    except OSError as error:
        raise HostError(
            f"the repository cannot be copied: {error.strerror}", hint="check free space: df -h"
        ) from error
    finally:
        os.umask(before)


class _Stage:
    """One repository on its way."""

    def __init__(self, found: Import, top: str) -> None:
        self._found, self._repository, self._top = found, found.repository, top
        self._git = Git(top, _ALONE)
        self._folder = os.path.join(top, ".git")
        self._began = int(time.time())

    def make(self, notice: Notice) -> str:
        repository = self._repository
        self._git.read("init", "-q", "--template=", f"--object-format={repository.object_format}")
        self._git.read("symbolic-ref", "HEAD", f"refs/heads/{repository.branch}")
        self._configure()
        if repository.head is not None:
            notice("files and commit")
            self._take_commit(repository.head)
        notice("files that differ")
        self._take_changes()
        tree = self._snapshot()
        # So that no gc takes it away.
        self._git.read("update-ref", "refs/banger/prepared", tree)
        for index in (os.path.join(self._folder, name) for name in ("index", "banger-index")):
            # As new as it is: files that are as old as their index are read once more, and nobody but us wrote here.
            with contextlib.suppress(FileNotFoundError):
                os.utime(index)
        if self._found.wanted.readonly:
            _protect(self._top)
        return tree

    def _configure(self) -> None:
        name, email = self._repository.identity()
        settings = {**_CONFIG, "user.name": name, "user.email": email}
        origin = self._repository.origin()
        if origin:
            settings["remote.origin.url"] = origin
            settings["remote.origin.fetch"] = "+refs/heads/*:refs/remotes/origin/*"
        for key, value in settings.items():
            if value:
                self._git.read("config", key, value)

    def _take_commit(self, head: str) -> None:
        """Take files and objects at the same time: the files come from the objects that the host has."""
        found = self._found
        shallow = self._repository.shallow if found.wanted.mode == "full_copy" else (head,)
        if shallow:
            with open(os.path.join(self._folder, "shallow"), "w", encoding="ascii") as file:
                file.writelines(f"{commit}\n" for commit in shallow)
        borrowed, own = self._repository.borrowed(), os.path.join(self._folder, "objects")
        with ThreadPoolExecutor(1) as pool:
            packing = pool.submit(write_pack, self._repository, found.wanted.mode, head, own)
            words = ("-c", "checkout.workers=2", "reset", "-q", "--hard", head)
            replace(self._git, more={**_ALONE, **borrowed}).read(*words)
            packing.result()
        self._git.read("update-ref", f"refs/heads/{self._repository.branch}", head)

    def _take_changes(self) -> None:
        changes = self._found.changes
        with Tree(self._top) as target:
            for path in changes.deleted:
                _remove(target, path)
        if changes.deleted:
            self._git.read("clean", "-q", "-f", "-d")  # directories that became empty
        with Tree(self._repository.top) as source, Tree(self._top) as target:
            for path in changes.sent:
                self._copy(source, target, path)
        if changes.added:
            words = ("--intent-to-add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul")
            self._git.read("add", *words, input=_joined(changes.added))
        if self._repository.links:
            self._git.read(
                "update-index", "-z", "--force-remove", "--stdin", input=_joined(self._repository.links)
            )

    def _copy(self, source: Tree, target: Tree, path: bytes) -> None:
        with open_entry(source, path) as entry:
            folder, name = target.enter(path, make=True)
            _clear(folder, name)
            if entry.link is not None:
                os.symlink(entry.link, name, dir_fd=folder)
                return
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
            with open(descriptor, "wb") as file:
                file.writelines(entry.pieces)
                file.flush()
                os.fchmod(descriptor, guest_mode(entry.status))
                # Never the second in which git wrote the file it replaces: git would take one for the other.
                changed = int(entry.status.st_mtime)
                moment = changed if 0 <= changed < self._began else self._began - 1
                os.utime(descriptor, (moment, moment))

    def _snapshot(self) -> str:
        """Return the tree of all files; its index stays, as after a prepare in the guest."""
        real, own = os.path.join(self._folder, "index"), os.path.join(self._folder, "banger-index")
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(real, own)
        git = replace(self._git, more={**_ALONE, "GIT_INDEX_FILE": own})
        changes = self._found.changes
        if changes.deleted:
            git.read("update-index", "-z", "--force-remove", "--stdin", input=_joined(changes.deleted))
        if changes.sent:
            git.read("update-index", "--add", "--replace", "-z", "--stdin", input=_joined(changes.sent))
        tree = git.text("write-tree")
        if tree is None:
            raise HostError("the repository cannot be copied: git made no tree of its files", hint="git fsck")
        return tree


def _joined(paths: Iterable[bytes]) -> bytes:
    return b"".join(path + b"\0" for path in paths)


def _remove(tree: Tree, path: bytes) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder, name = tree.enter(path)
        os.unlink(name, dir_fd=folder)


def _clear(folder: int, name: bytes) -> None:
    """Remove what is where a file comes: another file, or a directory that has become empty."""
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            os.rmdir(name, dir_fd=folder)


def _protect(top: str) -> None:
    """Take the write permission away from everything but ``.git``."""
    for path in _walk(top):
        mode = os.lstat(path).st_mode
        if not stat.S_ISLNK(mode):
            os.chmod(path, stat.S_IMODE(mode) & ~0o222)


def _walk(top: str) -> Iterator[str]:
    for folder, folders, names in os.walk(top, topdown=True):
        if folder == top:
            folders.remove(".git")
        yield from (os.path.join(folder, name) for name in names)
        yield folder
