"""Who could change what the services run: anyone but root who can would be root."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

#: Links that are followed one after the other; Linux follows no more (path_resolution(7)).
_LINKS = 40


def find_writable(
    paths: Iterable[Path], uid: int = 0, top: Path = Path("/"), skip: Container[str] = ()
) -> Iterator[str]:
    """Yield what others than root and one user can write to, as text for a person: a path and why.

    Each path, all that is in it, whatever links in it lead to, and every directory above any of these.

    :param uid: that user: root as well, but in tests.
    :param top: directories above this one are not looked at.
    :param skip: names of directories that are not entered.
    """
    seen: set[Path] = set()
    for path in paths:
        yield from _look_up(path, uid, top, seen)
        for folder, folders, files in os.walk(path):
            folders[:] = [name for name in folders if name not in skip]
            for name in (*folders, *files):
                yield from _look_at(Path(folder, name), uid, top, seen)


def _look_up(path: Path, uid: int, top: Path, seen: set[Path]) -> Iterator[str]:
    """Look at a path and at every directory above it."""
    for place in (path, *path.parents):
        yield from _look_at(place, uid, top, seen)
        if place == top:
            return


def _look_at(path: Path, uid: int, top: Path, seen: set[Path], links: int = 0) -> Iterator[str]:
    if path in seen:
        return
    seen.add(path)
    try:
        info = path.lstat()
    except OSError as error:
        yield f"{path} cannot be looked at: {error.strerror}"
        return
    if info.st_uid not in (0, uid):
        yield f"{path} belongs to user {info.st_uid}"
    elif stat.S_ISLNK(info.st_mode):
        target = path.parent / path.readlink()
        if links < _LINKS:
            yield from _look_up(
                Path(os.path.normpath(target)), uid, Path("/") if top == Path("/") else top, seen
            )
    elif reason := _writers(info):
        yield f"{path} can be written by {reason}"


def _writers(info: os.stat_result) -> str | None:
    """Return who else may write; an access control list shows in the group's bits (acl(5))."""
    if info.st_mode & stat.S_IWOTH:
        return "everybody"
    if info.st_mode & stat.S_IWGRP and info.st_gid != 0:
        return f"group {info.st_gid}"
    return None
