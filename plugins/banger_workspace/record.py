"""What is remembered of a VM's workspace: which repository, where it is in the guest, how it was when it arrived."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: A commit's or a tree's id, of a SHA-1 or a SHA-256 repository.
OID = r"^([0-9a-f]{40}|[0-9a-f]{64})$"

#: How many changed paths are remembered.
CHANGED = 1000


class Workspace(BaseModel):
    """One VM's workspace."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    guest_path: str = Field(min_length=2, max_length=4096, pattern=r"^/")
    #: The repository on the host. Bytes that are not UTF-8 are ``surrogateescape``, spelled as JSON's ``\\udcXX``.
    source: str = Field(min_length=1, max_length=8192)
    mode: str = "shallow_overlay"
    #: The commit that arrived; None for a repository without one.
    head: str | None = Field(default=None, pattern=OID)
    #: The branch in the guest.
    branch: str = Field(max_length=1024)
    #: The host's HEAD when it was read: another one now means that the workspace is old.
    source_head: str | None = Field(default=None, pattern=OID)
    #: All files as they arrived, as a tree in the guest's repository.
    tree: str = Field(pattern=OID)
    #: Paths of files that are not as in the commit, a character for each byte; None when they are too many to keep.
    changed: tuple[Annotated[str, Field(max_length=8192)], ...] | None = Field(
        default=None, max_length=CHANGED
    )
    include_untracked: bool = False
    readonly: bool = False
    #: ``--branch`` and ``--from``, to prepare it again in the same way.
    own_branch: str | None = Field(default=None, max_length=1024)
    from_ref: str | None = Field(default=None, max_length=1024)
