"""The initramfs: a cached archive with the agent and its modules, and a small one with a VM's configuration.

Both are plain "newc" cpio archives; the kernel reads one after the other, so a VM's initrd is the base with the
configuration appended. The bytes depend on the content alone.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from banger.errors import HostError

_ALIGN = 512


class _Entry(NamedTuple):
    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def _directory(name: str) -> _Entry:
    return _Entry(name, stat.S_IFDIR | 0o755)


def _pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _encode(entry: _Entry, inode: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _pad(head + name) + _pad(entry.data)


def _archive(entries: Iterable[_Entry]) -> bytes:
    parts = [_encode(entry, inode) for inode, entry in enumerate(entries, 1)]
    parts.append(_encode(_Entry("TRAILER!!!", 0), 0))
    data = b"".join(parts)
    return data + b"\0" * (-len(data) % _ALIGN)


def base_archive(agent: bytes, modules: Sequence[tuple[str, bytes]]) -> bytes:
    """The archive all VMs with this agent and these modules share; ``modules`` are in load order."""
    names = [f"{number:03d}-{name.removesuffix('.ko')}.ko" for number, (name, _data) in enumerate(modules)]
    entries = [
        _directory("dev"),
        _Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        _Entry("init", stat.S_IFREG | 0o755, agent),
        _directory("banger"),
        _directory("banger/modules"),
        _Entry("banger/modules/list", stat.S_IFREG | 0o644, "".join(f"{name}\n" for name in names).encode()),
    ]
    for name, (_name, data) in zip(names, modules, strict=True):
        entries.append(_Entry(f"banger/modules/{name}", stat.S_IFREG | 0o644, data))
    return _archive(entries)


def write_base(path: Path, agent: Path, modules: Sequence[tuple[str, bytes]]) -> None:
    """Write the base archive, whole or not at all."""
    try:
        data = base_archive(agent.read_bytes(), modules)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise HostError(f"cannot write the initramfs {path}: {error.strerror or error}") from error


def config_archive(config: Mapping[str, Any]) -> bytes:
    """The archive with one VM's ``/banger/config.json``, to be appended to the base."""
    text = json.dumps(config, separators=(",", ":"), sort_keys=True).encode("ascii")
    return _archive([_directory("banger"), _Entry("banger/config.json", stat.S_IFREG | 0o600, text)])


def agent_binary(arch: str = "x86_64") -> Path:
    """The packaged agent for this architecture."""
    path = Path(__file__).parent / "bin" / f"banger-agent-{arch}"
    if not path.is_file():
        raise HostError(
            f"this installation has no guest agent for {arch} ({path} is missing)",
            hint="reinstall banger where a C compiler is (Debian: gcc and libc6-dev), or from a release wheel",
        )
    return path
