"""Names of a guest's branches, and which of them may become branches here."""

from __future__ import annotations

import re
from collections.abc import Iterable

from banger.api import GuestError, clean
from banger_workspace.record import OID

#: Branches taken in one pull.
BRANCHES = 256
#: Bytes of a whole name, and of a part of it: a file system's 255 less what git adds while it writes.
_NAME, _PART = 1024, 240
#: What is allowed in a name: git's own rules forbid some of the rest, shells and terminals stumble over some more.
_PLAIN = re.compile(r"^[A-Za-z0-9_+=@%,\u00a1-\U0010ffff-][A-Za-z0-9_+=@%,.\u00a1-\U0010ffff-]*$")


def parse_branches(said: bytes) -> tuple[dict[str, str], list[str], bool]:
    """Return branches with their commits, names that are refused, and whether something is not committed.

    :raises GuestError: more branches than are taken, or an answer that makes no sense.
    """
    lines = said.split(b"\n")[:-1]
    uncommitted = lines[-1:] == [b"uncommitted"]
    found: dict[str, str] = {}
    refused: list[str] = []
    for line in lines[: len(lines) - uncommitted]:
        oid, _, ref = line.partition(b" ")
        name = ref.removeprefix(b"refs/heads/").decode(errors="surrogateescape")
        if not ref.startswith(b"refs/heads/") or re.match(OID, oid.decode(errors="replace")) is None:
            raise GuestError("the guest's list of branches makes no sense")
        if is_safe(name):
            found[name] = oid.decode()
        else:
            refused.append(clean(name)[:80])
    if len(found) + len(refused) > BRANCHES:
        raise GuestError(
            f"the guest has more than {BRANCHES} branches", hint="name those to take: --branch NAME"
        )
    return found, refused, uncommitted


def is_safe(name: str) -> bool:
    """Tell whether a branch of the guest may have this name here."""
    parts = name.split("/")
    return (
        len(name.encode(errors="surrogateescape")) <= _NAME
        and name.isprintable()
        and ".." not in name
        and "@{" not in name
        and all(_is_plain(part) for part in parts)
    )


def _is_plain(part: str) -> bool:
    return (
        _PLAIN.match(part) is not None
        and not part.startswith("-")
        and not part.endswith((".", ".lock"))
        and part != "@"
        and len(part.encode(errors="surrogateescape")) <= _PART
    )


def find_conflicts(names: Iterable[str], existing: Iterable[str]) -> list[str]:
    """Return those of ``names`` that cannot stand beside another or beside what exists.

    Two names clash when one is a directory of the other, or when they differ in case only: the same file on some disks.
    """
    names = list(names)
    everything = {*names, *existing}
    folded: dict[str, set[str]] = {}
    for name in everything:
        folded.setdefault(name.casefold(), set()).add(name)
    folders = {
        "/".join(name.casefold().split("/")[:end])
        for name in everything
        for end in range(1, name.count("/") + 1)
    }
    clashing = []
    for name in names:
        parents = ("/".join(name.casefold().split("/")[:end]) for end in range(1, name.count("/") + 1))
        if (
            len(folded[name.casefold()]) > 1
            or name.casefold() in folders
            or any(parent in folded for parent in parents)
        ):
            clashing.append(name)
    return sorted(clashing)
