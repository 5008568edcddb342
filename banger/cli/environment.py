"""What of the caller's surroundings a command in a guest gets: variables asked for, the time zone, the terminal."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from banger.cli.client import read_environment
from banger.errors import UsageError

#: Bytes of one ``--env-file``.
_FILE_LIMIT = 1024 * 1024
_LOCAL_TIME = Path("/etc/localtime")


def collect_environment(names: tuple[str, ...], files: tuple[str, ...]) -> dict[str, str]:
    """Return the variables that ``--env-file`` and ``--env`` ask for; the latter win."""
    chosen: dict[str, str] = {}
    for path in files:
        chosen |= _read_file(path)
    return chosen | read_environment(names)


def _read_file(path: str) -> dict[str, str]:
    """Read ``NAME=VALUE`` lines; ``NAME`` alone takes the caller's, ``#`` begins a comment; quotes mean nothing.

    No value of it is ever part of a message: it may be a secret.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError(21, os.strerror(21))
            text = file.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"--env-file {path}: {error.strerror}", hint="one NAME=VALUE per line") from error
    if len(text) > _FILE_LIMIT:
        raise UsageError(f"--env-file {path}: longer than 1 MiB", hint="copy the file instead: banger vm cp")
    chosen: dict[str, str] = {}
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name = name.strip().removeprefix("export ").strip()
        if not name or any(char.isspace() for char in name) or "\0" in line:
            raise UsageError(
                f"--env-file {path}: line {number} is no NAME=VALUE", hint="one NAME=VALUE per line"
            )
        if equals:
            chosen[name] = value
        elif name in os.environ:
            chosen[name] = os.environ[name]
    return chosen


def time_zone() -> str | None:
    """Return the name of the caller's time zone; None when it has none."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        try:
            name = str(_LOCAL_TIME.readlink()).partition("zoneinfo/")[2]
        except OSError:
            return None
    name = name.partition("zoneinfo/")[2] or name
    good = name.isprintable() and not name.startswith(("/", ".")) and ".." not in name
    return name if good and 0 < len(name) <= 100 else None


def language() -> str | None:
    """Return the caller's LANG; None when it says nothing of a language."""
    name = os.environ.get("LANG", "")
    good = name.isascii() and name.isprintable() and 0 < len(name) <= 100
    return name if good and name not in ("C", "POSIX") else None


def terminal_environment() -> dict[str, str]:
    """Return what a program needs to know of our terminal; the guest falls back to one that it knows."""
    found = {"TERM": os.environ.get("TERM") or "xterm-256color"}
    if "COLORTERM" in os.environ:
        found["COLORTERM"] = os.environ["COLORTERM"]
    return found
