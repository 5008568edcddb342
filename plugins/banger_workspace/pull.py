"""Taking the guest's commits as branches ``banger/<vm>/<branch>`` of the host's repository, and nothing else."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from banger.api import ConflictError, GuestError, HostCommands, HostError, UsageError, clean
from banger_workspace.git import Git, environment, printable
from banger_workspace.incoming import open_incoming
from banger_workspace.refs import find_conflicts, parse_branches

if TYPE_CHECKING:
    from banger_workspace.guest import Guest

#: Seconds for one fetch.
_TIMEOUT = 3600.0
#: KiB of memory that git may take while it reads what a guest made.
_MEMORY_KIB = 4 * 1024 * 1024
#: Only this transport, everything checked, and nothing written beside objects and the branches.
_SETTINGS = (
    "protocol.allow=never",
    "protocol.ssh.allow=always",
    "protocol.version=0",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    # One pack, which is admitted or not.
    "fetch.unpackLimit=1",
    "transfer.unpackLimit=1",
    "fetch.writeCommitGraph=false",
    "fetch.prune=false",
    "fetch.pruneTags=false",
    "fetch.recurseSubmodules=false",
    "transfer.bundleURI=false",
    "core.logAllRefUpdates=false",
    "core.bigFileThreshold=16m",
    "credential.helper=",
)
_OPTIONS = (
    *("--no-tags", "--no-recurse-submodules", "--no-auto-maintenance", "--no-write-fetch-head"),
    *("--no-prune", "--quiet", "--refmap="),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """One branch: its name here, its commit, and what became of it: new, updated, rewritten or unchanged."""

    branch: str
    commit: str
    how: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull took, names it refused, and whether the guest has more that is not committed."""

    taken: tuple[Taken, ...]
    refused: tuple[str, ...]
    uncommitted: bool


def pull_branches(
    guest: Guest,
    repository: str,
    *,
    head: str | None,
    wanted: tuple[str, ...] = (),
    max_size: int,
    max_objects: int,
) -> Pulled:
    """Take the branches that have commits of the guest's own, all or none.

    :param head: the commit that was brought: a branch that still is there has nothing new.
    :raises UsageError: the repository is gone, or is none. :raises ConflictError: names clash.
    :raises GuestError: too much, or nothing that git accepts.
    """
    git = Git(repository)
    if not os.path.isdir(repository):
        raise UsageError(
            f"{printable(repository)} is gone", hint="name the repository: banger vm workspace pull VM PATH"
        )
    git.read("rev-parse", "--git-dir")
    branches, refused, uncommitted = parse_branches(guest.ask("branches"))
    for name in wanted:
        if name not in branches:
            raise UsageError(
                f"the guest has no branch '{printable(name)}'",
                hint=f"it has: {', '.join(branches) or 'none'}",
            )
    prefix = f"banger/{guest.name}"
    before = _existing(git)
    chosen = [name for name in branches if name in wanted or (not wanted and branches[name] != head)]
    targets = [f"{prefix}/{name}" for name in chosen]
    clashing = find_conflicts(targets, set(before) - set(targets))
    if clashing:
        raise ConflictError(
            f"these names clash with other branches, or with each other: {', '.join(map(printable, clashing[:5]))}",
            hint="rename them in the guest, delete the old ones here (git branch -D), or choose: --branch NAME",
        )
    moving = {
        target: branches[name]
        for name, target in zip(chosen, targets, strict=True)
        if before.get(target) != branches[name]
    }
    if moving:
        _check_not_checked_out(git, set(moving))
        with open_incoming(git) as incoming:
            checked = replace(git, more=incoming.environment)
            _fetch(checked, guest, [f"refs/heads/{name}" for name in chosen], max_size, max_objects)
            _check_connected(checked, list(moving.values()))
            incoming.admit()
        _move(git, moving, before)
    after = _existing(git)
    taken = (
        Taken(name, after[name], _describe(git, before.get(name), after[name]))
        for name in targets
        if name in after
    )
    return Pulled(tuple(taken), tuple(refused), uncommitted)


def _existing(git: Git) -> dict[str, str]:
    lines = git.read("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads").splitlines()
    pairs = (line.split(b" ", 1) for line in lines)
    return {os.fsdecode(ref.removeprefix(b"refs/heads/")): oid.decode() for oid, ref in pairs}


def _describe(git: Git, old: str | None, new: str) -> str:
    if old is None:
        return "new"
    if old == new:
        return "unchanged"
    return "updated" if git.ask("merge-base", "--is-ancestor", old, new) is not None else "rewritten"


def _check_not_checked_out(git: Git, branches: set[str]) -> None:
    listed = git.read("worktree", "list", "--porcelain").splitlines()
    used = {
        os.fsdecode(line.removeprefix(b"branch refs/heads/"))
        for line in listed
        if line.startswith(b"branch ")
    }
    if used & branches:
        raise ConflictError(
            f"'{min(used & branches)}' is checked out here, and is not moved",
            hint=f"git -C {git.directory} switch -",
        )


def _check_connected(git: Git, commits: list[str]) -> None:
    """Refuse tips that are no commits or lack something: what the guest listed need not be what it sent."""
    for commit in commits:
        if git.text("cat-file", "-t", commit) != "commit":
            raise GuestError("nothing was taken: the guest's branches are not what it said", hint="try again")
    tips = "".join(f"{commit}\n" for commit in commits).encode()
    if git.ask("rev-list", "--objects", "--quiet", "--stdin", "--not", "--all", input=tips) is None:
        raise GuestError("nothing was taken: objects of the guest's commits are missing", hint="try again")


def _move(git: Git, moving: dict[str, str], before: dict[str, str]) -> None:
    """Set the branches, all or none."""
    lines = (
        f"update refs/heads/{name}\0{new}\0{before.get(name, '0' * len(new))}\0"
        for name, new in moving.items()
    )
    git.read(
        "-c", "core.logAllRefUpdates=false", "update-ref", "--stdin", "-z", input="".join(lines).encode()
    )


def _fetch(git: Git, guest: Guest, refspecs: list[str], max_size: int, max_objects: int) -> None:
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(("XDG_", "BANGER_", "PYTHON"))
    }
    env = environment(
        **git.more,
        GIT_SSH_COMMAND=shlex.join(relay_line(guest, max_size, max_objects)),
        GIT_SSH_VARIANT="simple",
        GIT_CONFIG_NOSYSTEM="1",
    )
    line = git.argv("fetch", *_OPTIONS, "--", "ssh://banger/workspace", *refspecs, settings=_SETTINGS)
    limited = ["sh", "-c", f'ulimit -d {_MEMORY_KIB} && exec "$@"', "git", *line]
    done = HostCommands().run(limited, timeout=_TIMEOUT, env={**kept, **env}, check=False)
    if done.status != 0:
        raise _refusal(done.stderr, git)


def relay_line(guest: Guest, max_size: int, max_objects: int) -> list[str]:
    """Return what git runs instead of ssh."""
    limits = (str(max_size), str(max_objects))
    return [sys.executable, "-P", "-m", "banger_workspace.relay", guest.vm, guest.path, *limits]


def _refusal(errors: bytes, git: Git) -> Exception:
    lines = [clean(line)[:300] for line in errors.decode(errors="replace").splitlines() if line.strip()]
    ours = next((line.removeprefix("banger: ") for line in lines if line.startswith("banger: ")), None)
    if ours is not None:
        return GuestError(f"nothing was taken: {ours}", hint="see what is there: banger vm workspace diff VM")
    said = next(
        (line for line in lines if line.startswith(("error:", "fatal:"))), lines[-1] if lines else "nothing"
    )
    return HostError(
        f"nothing was taken: git said: {said}",
        hint="what the guest has is refused, or cannot be written here",
    )
