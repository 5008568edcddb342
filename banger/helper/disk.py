"""Root disks by device-mapper: a snapshot whose origin is an image's file, and whose changes go to a file of the VM's.

Loop devices are of the kind that goes away with its last user, so the mapper's devices are all that is ever held: their
names say whose they are, and a process that was cut off leaves no loop behind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from banger.errors import ConflictError, HostError
from banger.helper.program import first_line, run_program
from banger.helper.requests import ReleaseDisk, SnapshotDisk

#: linux/loop.h.
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE = 0x4C82, 0x4C0A
_READ_ONLY, _AUTOCLEAR = 1, 4
#: ``struct loop_config``: descriptor, block size, ``struct loop_info64`` with its flags at byte 52, reserved words.
_LOOP_CONFIG, _FLAGS_AT = 304, 8 + 52
_TRIES = 20
#: Bytes of a sector, and of what a snapshot copies at once: the least there is, as large as a file system's block.
_SECTOR, _CHUNK = 512, 4096
#: Bytes of a snapshot's table entry for one chunk (drivers/md/dm-snap-persistent.c, ``struct disk_exception``).
_ENTRY = 16
_MAPPER, _CONTROL = Path("/dev/mapper"), "/dev/loop-control"
_SECONDS = 15.0


def snapshot(request: SnapshotDisk, owner: int) -> dict[str, Any]:
    """Make a VM's root disk, or say where it is."""
    name, size = name_of(request.vm), request.size_mib << 20
    if (_MAPPER / name).exists():
        return {"device": str(_MAPPER / name), "made": False}
    release(ReleaseDisk(request.vm))
    with (
        open_own(request.origin, os.O_RDONLY, owner) as origin,
        open_own(request.changes, os.O_RDWR, owner) as changes,
    ):
        length = os.fstat(origin).st_size // _SECTOR * _SECTOR
        if not 0 < length <= size:
            raise ConflictError(f"{request.origin} has {length} bytes, the disk {size}", hint="a larger disk")
        if os.fstat(changes).st_size < room_for(size):
            os.ftruncate(changes, room_for(size))
        with attached(origin, _READ_ONLY) as below, attached(changes, 0) as above:
            try:
                _dmsetup(f"{name}-base", "create", "--readonly", table=base_table(below, length, size))
                _dmsetup(
                    name, "create", table=f"0 {size // _SECTOR} snapshot {_MAPPER}/{name}-base {above} P 8\n"
                )
            except BaseException:
                release(ReleaseDisk(request.vm))
                raise
    return {"device": str(_MAPPER / name), "made": True}


def release(request: ReleaseDisk) -> dict[str, Any]:
    """Take a VM's root disk down; what is not there is no error."""
    name, removed = name_of(request.vm), False
    for device in (name, f"{name}-base"):
        if (_MAPPER / device).exists():
            _dmsetup(device, "remove", "--retry")
            removed = True
    return {"removed": removed}


def name_of(vm: str) -> str:
    """Return the name of a VM's device."""
    return f"banger-{vm}"


def device_of(vm: str) -> str:
    """Return the path of a VM's device."""
    return str(_MAPPER / name_of(vm))


def room_for(size: int) -> int:
    """Return how many bytes the changes to a whole disk take, with their table; most of it are holes."""
    chunks = -(-size // _CHUNK)
    return (1 + chunks + -(-chunks // (_CHUNK // _ENTRY)) + 1) * _CHUNK


def base_table(device: str, length: int, size: int) -> str:
    """Return the table of an origin: the image, and nothing behind it."""
    end, whole = length // _SECTOR, size // _SECTOR
    rest = f"{end} {whole - end} zero\n" if end < whole else ""
    return f"0 {end} linear {device} 0\n{rest}"


@contextlib.contextmanager
def open_own(path: str, flags: int, owner: int, kind: Callable[[int], bool] = stat.S_ISREG) -> Iterator[int]:
    """Open a file of the owner's, a regular one; no component of its path may be a link. HostError else.

    :param kind: tells from its mode whether it is of another kind, that is wanted.
    """
    folder = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, last = path.strip("/").split("/")
        for part in folders:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        found = os.open(last, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}", hint="a file without links in its path") from error
    finally:
        os.close(folder)
    try:
        info = os.fstat(found)
        if not kind(info.st_mode) or info.st_uid != owner:
            raise HostError(f"{path} is no file of the owner's", hint=f"ls -l {path}")
        yield found
    finally:
        os.close(found)


@contextlib.contextmanager
def attached(file: int, flags: int) -> Iterator[str]:
    """Attach a file to a free loop device, which goes away when nobody has it open any more."""
    config = bytearray(struct.pack("=II", file, 0).ljust(_LOOP_CONFIG, b"\0"))
    struct.pack_into("=I", config, _FLAGS_AT, flags | _AUTOCLEAR)
    try:
        with open(_CONTROL, "rb") as control:
            for _ in range(_TRIES):
                path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
                device = os.open(path, (os.O_RDONLY if flags & _READ_ONLY else os.O_RDWR) | os.O_CLOEXEC)
                try:
                    fcntl.ioctl(device, _LOOP_CONFIGURE, bytes(config))
                except OSError as error:
                    os.close(device)
                    if error.errno != errno.EBUSY:
                        raise
                    continue  # somebody else took it meanwhile
                try:
                    yield path
                finally:
                    os.close(device)
                return
    except OSError as error:
        raise HostError(
            f"no loop device can be had: {error.strerror}", hint="see: losetup --all; sudo modprobe loop"
        ) from error
    raise HostError("no loop device can be had: others take each one first", hint="see: losetup --all")


def _dmsetup(name: str, command: str, *options: str, table: str = "") -> None:
    line = [command, *options, name]
    done = run_program("dmsetup", line, text=table, seconds=_SECONDS, package="dmsetup")
    if done.returncode:
        said = first_line(done.stderr)
        raise HostError(f"dmsetup refused: {said}", hint="see: dmsetup ls --tree; losetup --all")
