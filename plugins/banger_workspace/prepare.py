"""Bringing a repository into a guest: the commit as a pack, what differs from it as an archive."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from banger.api import ConflictError, Progress, UsageError, open_handover, say
from banger_workspace.archive import tar_stream
from banger_workspace.changes import Changes, find_changes, list_files
from banger_workspace.git import printable
from banger_workspace.place import guest_of, locked, look
from banger_workspace.record import CHANGED
from banger_workspace.repository import Repository, find_repository

if TYPE_CHECKING:
    from banger.api import Client
    from banger_workspace.guest import Guest

#: Bytes between two figures on the screen.
_SHOWN = 1024 * 1024
#: Where a repository arrives unless something else is said.
GUEST_PATH = "/root/repo"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for."""

    path: str
    guest_path: str = GUEST_PATH
    mode: str = "shallow_overlay"
    include_untracked: bool = False
    readonly: bool = False
    branch: str | None = None
    from_ref: str | None = None


@dataclass(frozen=True, slots=True)
class Import:
    """A repository that was looked at and can be brought."""

    wanted: Wanted
    repository: Repository
    changes: Changes

    def notices(self) -> list[str]:
        """Return a line about what does not arrive, or not as one might think; nothing when all is plain."""
        changes, parts = self.changes, []
        if changes.untracked:
            parts.append(f"{changes.untracked} untracked left out (--include-untracked)")
        if changes.nested:
            parts.append(f"{changes.nested} nested repositories left out")
        if changes.converted:
            parts.append(f"{changes.converted} with filtered content (LFS, line endings) as they are here")
        if self.wanted.from_ref is not None and self.repository.head != self.repository.source_head:
            parts.append("local changes left out (--from)")
        if self.repository.merging:
            parts.append("a merge is in progress: files arrive with its marks")
        return [f"note: {'; '.join(parts)}"] if parts else []


def read_repository(wanted: Wanted) -> Import:
    """Look at the repository; nothing of it, of the daemon or of a VM is touched.

    :raises UsageError: it cannot be brought.
    """
    check_guest_path(wanted.guest_path)
    if wanted.from_ref is not None and wanted.branch is None:
        raise UsageError("--from goes with --branch", hint="--branch NAME --from REF")
    repository = find_repository(
        wanted.path, mode=wanted.mode, branch=wanted.branch, from_ref=wanted.from_ref
    )
    clean = wanted.mode == "metadata_only" or repository.head != repository.source_head
    changes = Changes() if clean else find_changes(repository, include_untracked=wanted.include_untracked)
    return Import(wanted, repository, changes)


def check_guest_path(path: str) -> None:
    """Refuse a place in the guest that is relative, not normal, or the root of the file system or of /root."""
    if (
        not path.startswith("/")
        or posixpath.normpath(path) != path
        or path in ("/", "/root")
        or not path.isprintable()
    ):
        raise UsageError(
            f"--guest-path '{printable(path)}': an absolute path below another directory", hint="/root/repo"
        )


def show_files(found: Import) -> None:
    """Print what would arrive, one path a line, as JSON strings where they have odd characters."""
    import json

    for path in list_files(found.repository, found.changes):
        text = path.decode(errors="surrogateescape")
        print(text if text.isprintable() and not text.startswith('"') else json.dumps(text))
    for notice in found.notices():
        say(notice)
    say(f"{found.wanted.mode} to {found.wanted.guest_path}; nothing was done")


def bring(client: Client, vm: str, found: Import, *, force: bool = False) -> dict[str, Any]:
    """Bring a repository into a running VM and return the record; one import at a time.

    :raises ConflictError: something else is at the path, or the guest has work that would be lost.
    """
    detail = look(client, vm)
    progress = Progress()
    with locked(detail):
        try:
            record = _bring(client, detail, found, force, progress)
            client.call("vm.workspace.save", {"vm": detail["id"], "workspace": record})
        finally:
            progress.end()
    return record


def _bring(
    client: Client, detail: dict[str, Any], found: Import, force: bool, progress: Progress
) -> dict[str, Any]:
    wanted, repository = found.wanted, found.repository
    before = client.call("vm.workspace.show", {"vm": detail["id"]})["workspace"]
    if before is not None and before["guest_path"] != wanted.guest_path:
        before = None
    guest = guest_of(client, detail, {"guest_path": wanted.guest_path})
    files = _counted(_fill_input(found), progress, "files")
    there = None
    if before is not None and before["mode"] == wanted.mode and _all_again(found, before):
        was = (before["head"], before["branch"], before["tree"])
        there, tree = guest.refill(*was, _fill_arguments(found), files)
        if tree is not None:
            return describe(found, tree)
        files = _counted(_fill_input(found), progress, "files")
    there = _check_place(guest, before, force, there)
    if before is not None and (there not in ("clean", "changed") or before["mode"] != wanted.mode):
        before = None
    if before is None:
        guest.ask("begin", repository.object_format)
    _send_commit(guest, found, before, progress)
    made = guest.oid(guest.ask("fill", "all", *_fill_arguments(found), input=files))
    return describe(found, made)


def _send_commit(guest: Guest, found: Import, before: dict[str, Any] | None, progress: Progress) -> None:
    """Bring the commit: less what is there already; or all of it, as a pack with its index, made here."""
    repository, mode = found.repository, found.wanted.mode
    head = repository.head
    if head is None or (before is not None and before["head"] == head):
        return
    known = before["head"] if before is not None else None
    if known is not None and repository.git.ask("cat-file", "-e", f"{known}^{{commit}}") is not None:
        guest.ask("receive", input=_counted(pack_since(repository, mode, head, known), progress, "commit"))
        return
    with open_handover(guest.client.paths.handover) as folder:
        progress({"event": "stage", "stage": "commit"})
        pack = os.path.join(folder, "pack")
        Path(pack).mkdir()
        write_pack(repository, mode, head, str(folder))
        guest.send(pack, f"{guest.path}/.git/objects", "pack", progress)


def _all_again(found: Import, before: dict[str, Any]) -> bool:
    """Tell whether the guest has the commit, and every file that is not as in it comes again."""
    wanted, repository, changes = found.wanted, found.repository, found.changes
    same = (
        before["head"] == repository.head
        and before["branch"] == repository.branch
        and before["include_untracked"] == wanted.include_untracked
        and before["readonly"] == wanted.readonly
    )
    if not same or before["changed"] is None or repository.links:
        return False
    return set(before["changed"]) <= {_spelled(path) for path in (*changes.sent, *changes.deleted)}


def _spelled(path: bytes) -> str:
    """Return a path as the record has it: a character for each byte."""
    return path.decode("latin-1")


def describe(found: Import, tree: str) -> dict[str, Any]:
    """Return the record of a repository that arrived."""
    wanted, repository, changes = found.wanted, found.repository, found.changes
    changed = [_spelled(path) for path in (*changes.sent, *changes.deleted)]
    return {
        "changed": changed if len(changed) <= CHANGED else None,
        "guest_path": wanted.guest_path,
        "source": repository.top,
        "mode": wanted.mode,
        "head": repository.head,
        "branch": repository.branch,
        "source_head": repository.source_head,
        "tree": tree,
        "include_untracked": wanted.include_untracked,
        "readonly": wanted.readonly,
        "own_branch": wanted.branch,
        "from_ref": wanted.from_ref,
    }


def _counted(pieces: Iterable[bytes], progress: Progress, stage: str) -> Iterator[bytes]:
    """Pass pieces on, with how many bytes they were on the screen."""
    done = shown = 0
    progress({"event": "stage", "stage": stage})
    for piece in pieces:
        yield piece
        done += len(piece)
        if done - shown >= _SHOWN:
            shown = done
            progress({"event": "stage", "stage": stage, "done": done})


def _check_place(guest: Guest, before: dict[str, Any] | None, force: bool, there: str | None) -> str:
    """Return what is at the place; refuse to spoil it. :param there: what it is, where that is known."""
    if there is None:
        record = before or {"head": None, "branch": "none", "tree": "none"}
        there = guest.state(record["head"], record["branch"], record["tree"])
    if there == "foreign":
        raise ConflictError(
            f"{guest.path} in '{guest.name}' holds something else", hint="choose another --guest-path"
        )
    if there == "broken" and not force:
        raise ConflictError(
            f"git cannot read {guest.path} in '{guest.name}' any more",
            hint=f"take what you need: banger vm cp {guest.name}:{guest.path} .; --force makes it anew",
        )
    if there == "changed" and not force:
        raise ConflictError(
            f"{guest.path} in '{guest.name}' has changes of its own, which this would undo",
            hint=f"take them first: banger vm workspace diff {guest.name}, or pull; --force throws them away",
        )
    return there


def pack_since(repository: Repository, mode: str, head: str, known: str) -> Iterator[bytes]:
    """Yield a pack with what ``head`` has and ``known`` has not."""
    words = (*pack_words(mode), "--stdout", "--thin")
    return repository.git.stream(*words, input=pack_revisions(mode, head, known).encode())


def write_pack(repository: Repository, mode: str, head: str, objects: str) -> None:
    """Write a pack with all of a commit, and its index, into another directory of objects."""
    git = replace(repository.git, more={"GIT_OBJECT_DIRECTORY": objects, **repository.borrowed()})
    revisions = pack_revisions(mode, head).encode()
    git.read(*pack_words(mode), os.path.join(objects, "pack", "pack"), input=revisions)


def pack_words(mode: str) -> tuple[str, ...]:
    """Return git's words for a pack: deltas that exist are used, none are looked for, which would take longer."""
    words = (
        "pack-objects",
        "--revs",
        "--quiet",
        "--delta-base-offset",
        "--no-use-bitmap-index",
        "--window=0",
    )
    return (*words, "--shallow") if mode != "full_copy" else words


def pack_revisions(mode: str, head: str, known: str | None = None) -> str:
    """Return what is to be in a pack: the commit, alone or with all its history, less one that is there already."""
    lines = [head] if known is None else [head, f"^{known}"]
    if mode != "full_copy":
        lines = [*(f"--shallow {commit}" for commit in (known, head) if commit is not None), *lines]
    return "".join(f"{line}\n" for line in lines)


def _fill_arguments(found: Import) -> tuple[str, ...]:
    repository, changes = found.repository, found.changes
    shallow = repository.shallow if found.wanted.mode == "full_copy" else (repository.head or "",)
    name, email = repository.identity()
    lengths = (
        sum(len(path) + 1 for path in paths)
        for paths in (changes.deleted, changes.added, repository.links, changes.sent)
    )
    return (
        repository.head or "none",
        repository.branch,
        "\n".join(filter(None, shallow)),
        *map(str, lengths),
        name,
        email,
        repository.origin(),
        "yes" if found.wanted.readonly else "no",
    )


def _fill_input(found: Import) -> Iterator[bytes]:
    changes = found.changes
    for paths in (changes.deleted, changes.added, found.repository.links, changes.sent):
        if paths:
            yield b"".join(path + b"\0" for path in paths)
    yield from tar_stream(found.repository.top, changes.sent)
