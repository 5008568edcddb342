"""Name and address of the user's commits: of the whole git configuration, no more than that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from banger.api import Commands

_KEYS = ("user.name", "user.email")
#: Characters of a value; longer ones are no names.
_LIMIT = 500


def read_identity(commands: Commands) -> bytes | None:
    """Return a git configuration with the user's own name and address; None when the user has neither, or no git."""
    if commands.find("git") is None:
        return None
    found = {key: value for key in _KEYS if (value := _read(commands, key))}
    lines = [f"\t{key.partition('.')[2]} = {_quote(value)}\n" for key, value in found.items()]
    return "".join(("[user]\n", *lines)).encode("utf-8", "surrogateescape") if lines else None


def _read(commands: Commands, key: str) -> str:
    # --global: what a repository says of its user is for that repository alone.
    done = commands.run(("git", "config", "--global", "--includes", "--get", key), timeout=10, check=False)
    value = done.stdout.decode("utf-8", "surrogateescape").rstrip("\n") if done.status == 0 else ""
    return value if len(value) <= _LIMIT and "\0" not in value else ""


def _quote(value: str) -> str:
    """Return a value as git's configuration files write it (git-config, "Syntax")."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
