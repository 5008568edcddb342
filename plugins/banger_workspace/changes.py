"""What of a repository's files is not as its commit has it: these travel one by one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from banger_workspace.git import Git
from banger_workspace.repository import Repository


@dataclass(frozen=True, slots=True)
class Changes:
    """Paths relative to the repository's top.

    :param sent: files whose content travels. :param deleted: files of the commit that are not there any more.
    :param added: files that git knows here and the commit does not.
    :param untracked: names that were left out, directories counted once. :param nested: repositories inside.
    :param converted: how many files hold something else than git stores (LFS, line endings).
    """

    sent: tuple[bytes, ...] = ()
    deleted: tuple[bytes, ...] = ()
    added: tuple[bytes, ...] = ()
    untracked: int = 0
    nested: int = 0
    converted: int = 0


def find_changes(repository: Repository, *, include_untracked: bool) -> Changes:
    """Compare files, index and commit; the index is not written."""
    sent: dict[bytes, None] = {}
    deleted: list[bytes] = []
    added: list[bytes] = []
    untracked = nested = 0
    for entry in _status(repository.git, include_untracked):
        kind, path = entry[:1], _path(entry)
        if kind == b"?":
            if not include_untracked:
                untracked += 1
            elif path.endswith(b"/"):
                nested += 1
            else:
                sent[path] = None
        elif kind in (b"1", b"u") and entry.split(b" ", 3)[2][:1] == b"N":
            if _exists(repository.top, path):
                sent[path] = None
                if entry[2:3] == b"A":
                    added.append(path)
            else:
                deleted.append(path)
    sent.update(dict.fromkeys(_unwatched(repository)))
    converted = [path for path in _converted(repository) if path not in sent]
    for link in repository.links:
        sent.update(dict.fromkeys(_submodule_files(repository, link)))
    sent.update(dict.fromkeys(converted))
    return Changes(tuple(sent), tuple(deleted), tuple(added), untracked, nested, len(converted))


def list_files(repository: Repository, changes: Changes) -> list[bytes]:
    """Return every file that arrives, sorted."""
    gone = {*changes.deleted, *repository.links}
    if repository.head is None:
        return sorted(changes.sent)
    tree = repository.git.fields("ls-tree", "-r", "-z", "--name-only", "--full-tree", repository.head)
    return sorted({*(path for path in tree if path not in gone), *changes.sent})


def _status(git: Git, include_untracked: bool) -> list[bytes]:
    which = "all" if include_untracked else "normal"
    words = ("status", "--porcelain=v2", "-z", "--no-renames", "--ignore-submodules=all")
    return git.fields(*words, f"--untracked-files={which}")


def _path(entry: bytes) -> bytes:
    blanks = {b"1": 8, b"u": 10}.get(entry[:1], 1)
    return entry.split(b" ", blanks)[-1]


def _unwatched(repository: Repository) -> list[bytes]:
    """Return files that git was told not to look at: assume-unchanged (a small letter), or skip-worktree (S)."""
    entries = repository.git.fields("ls-files", "-v", "-z")
    told = [entry[2:] for entry in entries if entry[:1].islower() or entry[:1] == b"S"]
    return [path for path in told if _exists(repository.top, path)]


def _exists(top: str, path: bytes) -> bool:
    """Tell whether there is a file where git has one: not a directory, and not behind a symbolic link."""
    place = os.fsencode(top)
    *folders, name = path.split(b"/")
    for folder in folders:
        place = os.path.join(place, folder)
        if os.path.islink(place):
            return False
    place = os.path.join(place, name)
    return os.path.lexists(place) and (os.path.islink(place) or not os.path.isdir(place))


def _converted(repository: Repository) -> list[bytes]:
    """Return files that git takes for unchanged although they hold something else: what filters wrote."""
    git = repository.git
    settings = git.ask("config", "--get", "core.autocrlf") not in (None, b"false\n", b"input\n")
    entries = [entry.partition(b"\t") for entry in git.fields("ls-files", "-z", "--stage")]
    attributes = any(path.rpartition(b"/")[2] == b".gitattributes" for _, _, path in entries)
    own = git.text("rev-parse", "--path-format=absolute", "--git-path", "info/attributes")
    if not (settings or attributes or (own and os.path.exists(own))):
        return []
    files = [
        (head.split(b" ")[1], path) for head, _, path in entries if head[:4] == b"1006" or head[:4] == b"1007"
    ]
    asked = b"".join(oid + b"\n" for oid, _ in files)
    sizes = git.read("cat-file", "--batch-check=%(objectsize)", input=asked).split(b"\n")
    top = os.fsencode(repository.top)
    found = []
    for (_, path), size in zip(files, sizes, strict=False):
        try:
            if size.isdigit() and os.lstat(os.path.join(top, path)).st_size != int(size):
                found.append(path)
        except OSError:
            continue
    return found


def _submodule_files(repository: Repository, link: bytes) -> list[bytes]:
    """Return the tracked files of a submodule that is checked out."""
    folder = os.path.join(repository.top, os.fsdecode(link))
    if os.path.islink(folder) or not os.path.lexists(os.path.join(folder, ".git")):
        return []
    git = Git(folder)
    files: list[bytes] = []
    for entry in git.fields("ls-files", "-z", "--stage"):
        head, _, path = entry.partition(b"\t")
        whole = link + b"/" + path
        if head.startswith(b"160000 "):
            files += _submodule_files(repository, whole)
        elif _exists(folder, path):
            files.append(whole)
    return files
