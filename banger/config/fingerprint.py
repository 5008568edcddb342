"""A short name of what is installed and configured: the CLI sends it, a daemon with another one restarts.

On the path of every call, so it reads directories itself instead of importing importlib.metadata.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import banger


def fingerprint(config: tuple[os.PathLike[str], ...], *, is_system: bool = False) -> str:
    """Return what a daemon must share with its client, as readable text.

    Version, environment and Python (by whichever of its names it was called), every entry point of the group
    ``banger`` with its distribution's version, the modification times of the configuration files and, in an editable
    install, of the newest source file. In system mode only the files': the daemon has an environment of its own there,
    which root replaces.
    """
    if is_system:
        return "\n".join(f"{os.fspath(file)} {_mtime(file)}" for file in config)
    python = f"{sys.prefix} {sys.implementation.cache_tag}"
    parts = [f"banger {banger.__version__}", python, *sorted(entry_points("banger"))]
    parts += [f"{os.fspath(file)} {_mtime(file)}" for file in config]
    parts += [f"environment {name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    source = _newest_source()
    return "\n".join([*parts, f"source {source}"] if source else parts)


#: Environment variables that change what a daemon is.
_VARIABLES = ("BANGER_PLUGINS", "BANGER_STRICT_PLUGINS", "BANGER_LOG_LEVEL")


def _mtime(path: os.PathLike[str] | str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def entry_points(group: str) -> Iterator[str]:
    """Yield ``<distribution> <name> = <module>:<object>`` for every entry point of a group."""
    seen: set[str] = set()
    for folder in sys.path:
        try:
            entries = list(os.scandir(folder or "."))
        except OSError:
            continue
        for entry in entries:
            if entry.name.endswith(".dist-info") and entry.name not in seen:
                seen.add(entry.name)
                yield from _group_lines(entry.path, entry.name.removesuffix(".dist-info"), f"[{group}]")


def _group_lines(folder: str, distribution: str, group: str) -> Iterator[str]:
    try:
        with open(os.path.join(folder, "entry_points.txt"), encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return
    inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == group
        elif inside and line:
            yield f"{distribution} {line}"


def _newest_source() -> int:
    """Return the newest modification time below an editable install's source, 0 for a normal install."""
    package = os.path.dirname(os.path.abspath(banger.__file__))
    plugins = os.path.join(os.path.dirname(package), "plugins")
    if not os.path.isfile(os.path.join(os.path.dirname(package), "pyproject.toml")):
        return 0
    return max(_newest(package), _newest(plugins))


def _newest(folder: str) -> int:
    newest = 0
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return 0
    for entry in entries:
        if entry.name == "__pycache__":
            continue
        if entry.is_dir(follow_symlinks=False):
            newest = max(newest, _newest(entry.path))
        elif entry.name.endswith(".py"):
            newest = max(newest, entry.stat().st_mtime_ns)
    return newest
