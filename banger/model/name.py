"""Names people give to VMs, images and kernels, and what to suggest when one is unknown."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

from banger.errors import UsageError

#: Characters of a name that a suggestion is looked for: no name here is longer.
_LONGEST = 160
_VM = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}\Z")

_FIRST = (
    "amber ample bold brave brisk calm clear clever crisp deft eager early fair fleet fond gentle glad grand "
    "happy keen kind lively lucky mellow merry neat noble plucky proud quick quiet rapid ready sharp silent "
    "smart snug solid spry steady sturdy sunny swift tidy warm wise witty zesty"
).split()
_SECOND = (
    "ant bear bee bison crane crow deer dove eagle elk falcon finch fox frog gecko goose hare hawk heron ibex "
    "jay koala lark lemur lion llama lynx mole moose moth newt otter owl panda puma quail raven robin seal "
    "shrew sloth stoat swan tapir tern toad vole wasp wolf wren yak"
).split()


def check_vm_name(name: str) -> str:
    """Return ``name`` or raise :class:`UsageError`: 1 to 63 of a-z, 0-9 and ``-``, none at either end (RFC 1123)."""
    if not _VM.match(name):
        raise UsageError(
            f"'{name[:80]}' is not a VM name",
            hint="use 1 to 63 characters: a-z, 0-9 and '-', not at the start or end",
        )
    return name


def check_ref_name(name: str, what: str) -> str:
    """Return ``name`` or raise :class:`UsageError`: an image or kernel name, 1 to 127 of letters, digits, ``._-``."""
    if not _REF.match(name):
        raise UsageError(
            f"'{name[:80]}' is not a name for {what}", hint="use letters, digits, '.', '_' and '-'"
        )
    return name


def make_vm_name(taken: Iterable[str]) -> str:
    """Return a free, pronounceable VM name such as ``brisk-otter``."""
    used = set(taken)
    for _ in range(64):
        name = f"{secrets.choice(_FIRST)}-{secrets.choice(_SECOND)}"
        if name not in used:
            return name
    return f"vm-{secrets.token_hex(6)}"


def suggest(name: str, known: Iterable[str]) -> str | None:
    """Return the closest of ``known`` to a misspelt ``name``, if one is close."""
    from difflib import get_close_matches

    if len(name) > _LONGEST:
        return None
    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown_hint(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return the hint for an unknown ``name``: a suggestion, what there is, or ``otherwise``."""
    names = sorted(known)
    close = suggest(name, names)
    if close:
        return f"did you mean '{close}'?"
    if names and len(names) <= 8:
        return f"there is: {', '.join(names)}"
    return otherwise
