"""The repository on the host, looked at before any VM exists."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from banger.api import UsageError
from banger_workspace.git import Git, printable, quote_path

MODES = ("shallow_overlay", "full_copy", "metadata_only")


@dataclass(frozen=True, slots=True)
class Repository:
    """What has to be known of a repository to bring it into a guest.

    :param head: the commit that is to arrive; None when there is none yet. :param source_head: HEAD's.
    :param branch: the guest's branch.
    :param shallow: commits at which the host's own history ends.
    :param links: paths of submodules.
    """

    git: Git
    top: str
    object_format: str
    head: str | None
    source_head: str | None
    branch: str
    shallow: tuple[str, ...]
    links: tuple[bytes, ...]
    merging: bool

    def identity(self) -> tuple[str, str]:
        """Return the name and address that commits made here carry; empty texts for what is not set."""
        return self.git.text("config", "--get", "user.name") or "", self.git.text(
            "config", "--get", "user.email"
        ) or ""

    def borrowed(self) -> dict[str, str]:
        """Return the variables with which git reads this repository's objects from elsewhere."""
        objects = self.git.text("rev-parse", "--path-format=absolute", "--git-path", "objects")
        return {"GIT_ALTERNATE_OBJECT_DIRECTORIES": quote_path(objects or "")}

    def origin(self) -> str:
        """Return the address of the remote ``origin`` without any password; empty when there is none."""
        return strip_credentials(self.git.text("remote", "get-url", "origin") or "")


def find_repository(path: str, *, mode: str, branch: str | None, from_ref: str | None) -> Repository:
    """Look at the repository that a path lies in.

    :raises UsageError: no such path, no repository, a bare one, submodules without ``full_copy``, an unknown ref, a
        branch's name that is none, objects that are not here.
    """
    folder = _folder(path)
    git = Git(folder)
    kind = git.read("rev-parse", "--is-bare-repository", "--is-inside-work-tree").split()
    if kind[0] == b"true":
        raise UsageError(
            f"{printable(path)} is a bare repository: it has no files to bring",
            hint="clone it, and name the clone",
        )
    if kind[-1] != b"true":
        raise UsageError(
            f"{printable(path)} is inside of a .git directory", hint="name the directory with the files"
        )
    top = os.fsdecode(git.read("rev-parse", "--show-toplevel").removesuffix(b"\n"))
    git = Git(top)
    object_format = git.text("rev-parse", "--show-object-format") or "sha1"
    source_head = git.text("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    repository = Repository(
        git,
        top,
        object_format,
        _commit(git, from_ref) if from_ref is not None else source_head,
        source_head,
        _branch(git, branch, source_head),
        _shallow(git),
        tuple(_links(git)),
        git.ask("rev-parse", "--verify", "--quiet", "MERGE_HEAD") is not None,
    )
    if repository.links and mode != "full_copy":
        raise UsageError(
            f"the repository has submodules: {', '.join(map(printable, repository.links[:3]))}",
            hint="--mode full_copy brings their files, too",
        )
    _check_complete(repository, mode)
    return repository


def _folder(path: str) -> str:
    try:
        found = os.path.realpath(path, strict=True)
    except OSError as error:
        raise UsageError(
            f"there is no directory '{printable(path)}': {error.strerror}",
            hint="a command for the guest goes after --: banger vm run -- COMMAND",
        ) from None
    return found if os.path.isdir(found) else os.path.dirname(found)


def _commit(git: Git, ref: str) -> str:
    found = git.text("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if found is None:
        raise UsageError(
            f"'{printable(ref)}' is no commit of this repository", hint="git log --oneline --all"
        )
    return found


def _branch(git: Git, wanted: str | None, head: str | None) -> str:
    """Return the guest's branch: the one asked for, the host's, or where no branch is checked out one named by HEAD."""
    if wanted is not None:
        if wanted.startswith("-") or git.ask("check-ref-format", f"refs/heads/{wanted}") is None:
            raise UsageError(
                f"'{printable(wanted)}' is no name for a branch", hint="git help check-ref-format"
            )
        return wanted
    return git.text("symbolic-ref", "--quiet", "--short", "HEAD") or f"detached-{(head or '')[:8]}"


def _shallow(git: Git) -> tuple[str, ...]:
    if git.text("rev-parse", "--is-shallow-repository") != "true":
        return ()
    file = git.text("rev-parse", "--path-format=absolute", "--git-path", "shallow")
    with open(file or "", encoding="ascii") as lines:
        return tuple(line.strip() for line in lines)


def _links(git: Git) -> list[bytes]:
    entries = (entry.partition(b"\t") for entry in git.fields("ls-files", "-z", "--stage"))
    return [path for head, _, path in entries if head.startswith(b"160000 ")]


def _check_complete(repository: Repository, mode: str) -> None:
    """Refuse a partial clone that lacks objects of what is to arrive: nothing is fetched behind the user's back."""
    git, head = repository.git, repository.head
    if head is None or git.ask("config", "--get-regexp", r"^remote\..*\.promisor$") is None:
        return
    depth = () if mode == "full_copy" else ("--no-walk",)
    listed = git.read("rev-list", "--objects", "--missing=print", *depth, head)
    missing = sum(line.startswith(b"?") for line in listed.splitlines())
    if missing:
        raise UsageError(
            f"{missing} objects of {'its history' if mode == 'full_copy' else 'this commit'} are not here: "
            "the repository is a partial clone",
            hint="git fetch --refetch --no-filter, then try again",
        )


def strip_credentials(address: str) -> str:
    """Return a remote's address without user and password where it is a URL."""
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    user = parts.username if parts.scheme == "ssh" and parts.username and not parts.password else None
    return urlunsplit(parts._replace(netloc=f"{user}@{host}" if user else host))
