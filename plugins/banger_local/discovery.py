"""Discovery: where a directory's kernel, initrd and modules are.

``metadata.json`` says it, where there is one. Else the newest ``boot/vmlinux-*``, then ``boot/vmlinuz-*``; its initrd
and ``lib/modules`` of that release, or else the newest. A directory without ``boot`` is looked at itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from banger.api import KernelError, NotFoundError, inspect_kernel

_METADATA_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class KernelFiles:
    """A kernel's files, and what is known of it beforehand."""

    kernel: Path
    initrd: Path | None = None
    modules: Path | None = None
    distro: str = ""
    arch: str | None = None


def discover_kernel(directory: Path) -> KernelFiles:
    """Return what a directory holds.

    :raises NotFoundError: no kernel. :raises KernelError: its metadata.json is wrong.
    """
    if (directory / "metadata.json").is_file():
        return _from_metadata(directory)
    for place in (directory / "boot", directory):
        for patterns in (("vmlinux", "vmlinux-*"), ("vmlinuz", "vmlinuz-*", "bzImage")):
            found = newest(path for pattern in patterns for path in place.glob(pattern) if path.is_file())
            if found is not None:
                release = inspect_kernel(found).release
                return KernelFiles(found, _find_initrd(place, release), _find_modules(directory, release))
    raise NotFoundError(
        f"there is no kernel in {directory}",
        hint="metadata.json, boot/vmlinux-* or boot/vmlinuz-* is what is looked for",
    )


def newest(paths: Iterable[Path]) -> Path | None:
    """Return the one with the highest version in its name; links to others, such as plain ``vmlinuz``, count less."""
    return max(
        paths, key=lambda path: (bool(re.search(r"\d", path.name)), version_key(path.name)), default=None
    )


def version_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return what versions compare by: numbers as numbers, a ``~`` below everything else."""
    keys: list[tuple[int, int | str]] = []
    for part in re.findall(r"\d+|~|[^\d~]+", name):
        keys.append((3, int(part)) if part.isdigit() else (0, part) if part == "~" else (2, part))
    return (*keys, (1, ""))


def _find_initrd(place: Path, release: str) -> Path | None:
    for pattern in (f"initramfs-{release}*", f"initrd.img-{release}", "initramfs-*"):
        found = newest(path for path in place.glob(pattern) if path.is_file())
        if found is not None:
            return found
    return None


def _find_modules(directory: Path, release: str) -> Path | None:
    base = directory / "lib" / "modules"
    if (base / release).is_dir():
        return base / release
    return newest(path for path in base.glob("*") if path.is_dir())


def _from_metadata(directory: Path) -> KernelFiles:
    file = directory / "metadata.json"
    try:
        with open(file, "rb") as stream:
            said = json.loads(stream.read(_METADATA_LIMIT))
    except (OSError, ValueError, RecursionError) as error:
        raise KernelError(f"{file} cannot be read: {error}") from error
    if not isinstance(said, dict):
        raise KernelError(f"{file} is not a table of names and values")
    kernel = _inside(directory, said, "kernel")
    if kernel is None:
        raise KernelError(f"{file} names no kernel", hint='{"kernel": "boot/vmlinux"}, relative to it')
    return KernelFiles(
        kernel,
        _inside(directory, said, "initrd"),
        _inside(directory, said, "modules"),
        _word(file, said, "distro") or "",
        _word(file, said, "arch"),
    )


def _inside(directory: Path, said: dict[str, object], key: str) -> Path | None:
    """Return a path that metadata.json names; KernelError when it leads out of the directory."""
    value = said.get(key)
    if value in (None, ""):
        return None
    if not isinstance(value, str) or "\0" in value or len(value) > 4096:
        raise KernelError(f"metadata.json: {key} is not a path")
    path = (directory / value).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise KernelError(f"metadata.json: {key} leads out of {directory}: {value[:200]!r}")
    return path


def _word(file: Path, said: dict[str, object], key: str) -> str | None:
    value = said.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9._-]{0,64}", value):
        raise KernelError(f"{file}: {key} is not a word")
    return value
