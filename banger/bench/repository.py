"""A repository to measure with: always the same, made through ``git fast-import``."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from banger.bench.measure import run_timed
from banger.errors import HostError

#: Files, bytes of all of them, commits: what a large project has.
FILES, BYTES, COMMITS = 20_000, 400_000_000, 2_000
#: Files in a directory, and files that a commit changes.
_FOLDER, _CHANGED = 40, 5
#: Commits change files far from each other: a prime, so that all have their turn.
_STRIDE = 7919
_IDENTITY = b"Bench <bench@example.org>"
_BEGAN = 1_700_000_000


def make_repository(where: Path, files: int = FILES, size: int = BYTES, commits: int = COMMITS) -> Path:
    """Make a repository with its files checked out; text that compresses to about half.

    :raises HostError: git is missing or failed.
    """
    git = ["git", "-C", str(where)]
    where.mkdir()
    run_timed([*git, "init", "-q", "-b", "main"])
    for key, value in (("user.name", "Bench"), ("user.email", "bench@example.org"), ("gc.auto", "0")):
        run_timed([*git, "config", key, value])
    with subprocess.Popen([*git, "fast-import", "--quiet"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for piece in _stream(files, size // files, commits):
            process.stdin.write(piece)
        process.stdin.close()
        if process.wait() != 0:
            raise HostError("git fast-import failed", hint="try it by hand")
    run_timed([*git, "reset", "-q", "--hard"])
    return where


def file_name(number: int) -> str:
    """Return the path of a file by its number."""
    return f"part{number // _FOLDER % 25:02}/module{number // _FOLDER:03}/file{number}.txt"


def change_files(where: Path, numbers: range) -> None:
    """Add a line to some files."""
    for number in numbers:
        with (where / file_name(number)).open("a", encoding="ascii") as file:
            file.write("one more line\n")


def _stream(files: int, size: int, commits: int) -> Iterator[bytes]:
    yield _commit(0)
    for number in range(files):
        yield _modify(number, _text(f"{number}", size))
    for commit in range(1, commits):
        yield _commit(commit)
        for change in range(_CHANGED):
            number = (commit * _STRIDE + change * _FOLDER) % files
            yield _modify(number, _text(f"{commit} {change}", size // 10) * 10)


def _commit(number: int) -> bytes:
    message = b"commit %d\n" % number
    who = b"%s %d +0000" % (_IDENTITY, _BEGAN + number)
    return b"commit refs/heads/main\ncommitter %s\ndata %d\n%s" % (who, len(message), message)


def _modify(number: int, content: bytes) -> bytes:
    name = file_name(number).encode()
    return b"M 100644 inline %s\ndata %d\n%s\n" % (name, len(content), content)


def _text(seed: str, size: int) -> bytes:
    """Return lines of hexadecimal digits, the same for the same seed."""
    digits = hashlib.shake_128(seed.encode()).hexdigest(size // 2 + 1)
    lines = (digits[at : at + 63] for at in range(0, size, 64))
    return "".join(f"{line}\n" for line in lines).encode()[:size]
