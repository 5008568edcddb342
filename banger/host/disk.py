"""Disk images: ext4 files and copy-on-write overlays, made without mounting anything and without root."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, Protocol

from banger.errors import HostError
from banger.host.command import Commands, Completed

#: Bytes that :meth:`Disks.read_file` returns at most.
READ_LIMIT = 64 * 1024 * 1024

#: Seconds until a disk program is given up; they take milliseconds, or as long as the content takes to copy.
_TIMEOUT = 1800.0

_SUPERBLOCK = 1024
_MAGIC = b"\x53\xef"
_SPACE = re.compile(r"No space left on device|Disk quota exceeded")


class Disks(Protocol):
    """The seam to e2fsprogs and qemu-img."""

    def make_ext4(
        self,
        path: Path,
        size_mib: int,
        *,
        uuid: str,
        label: str,
        content: Path | None = None,
        lazy: bool = True,
    ) -> None:
        """Make a sparse ext4 file; ``content``'s files become its root directory, owned by 0:0 in the guest.

        For content that has other owners, the image source makes the file itself, in a user namespace.

        :param lazy: leave the inode tables to the guest, which writes them in the background; otherwise they
            take 1.6 % of the size on the host at once.
        :raises HostError: no space, content that does not fit, a file that exists already, or mke2fs failed.
        """

    def make_overlay(self, path: Path, backing: Path, size_mib: int) -> None:
        """Make a qcow2 file of ``size_mib`` over ``backing``, a raw file that must not change afterwards."""

    def grow(self, path: Path, kind: str, size_mib: int) -> None:
        """Grow a disk that is not in use to ``size_mib``; one that is as large or larger stays as it is.

        :param kind: ``raw`` or ``qcow2``. What is inside is not grown: the guest does that.
        """

    def read_file(self, image: Path, path: str) -> bytes:
        """Return the content of a regular file inside an ext4 file; HostError when it is not there.

        :param path: absolute, without quotes and control characters; the file itself must not be a link.
        :raises HostError: also for a file of more than 64 MiB.
        """

    def read_uuid(self, image: Path) -> str:
        """Return the UUID in an ext4 file's superblock; HostError when it is not ext4."""


class HostDisks:
    """:class:`Disks` with the host's programs."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def make_ext4(
        self,
        path: Path,
        size_mib: int,
        *,
        uuid: str,
        label: str,
        content: Path | None = None,
        lazy: bool = True,
    ) -> None:
        line: list[str | Path] = [
            *"mke2fs -q -F -t ext4 -b 4096 -I 256 -m 0".split(),
            *("-L", label, "-U", uuid, "-E"),
            f"lazy_itable_init={int(lazy)},lazy_journal_init=1,root_owner=0:0,nodiscard,hash_seed={uuid}",
        ]
        with _making(path, size_mib * 1024**2):
            if content is None:
                self._check(self._run([*line, path]), path)
                return
            mapped = self._fill([*line, "-d", content, path], path)
            if (not mapped and os.geteuid() != 0) or has_foreign_owners(content):
                self._give_to_root(path)

    def make_overlay(self, path: Path, backing: Path, size_mib: int) -> None:
        backing = backing.absolute()
        if not backing.is_file():
            raise HostError(f"{backing} is not there, so nothing can be laid over it")
        line: list[str | Path] = [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            backing,
            path.absolute(),
        ]
        with _making(path):
            self._check(self._run([*line, f"{size_mib}M"]), path)

    def grow(self, path: Path, kind: str, size_mib: int) -> None:
        wanted = size_mib << 20
        if kind == "raw":
            if path.stat().st_size < wanted:
                os.truncate(path, wanted)
            return
        told = self._run(["qemu-img", "info", "--output=json", "-f", kind, path])
        self._check(told, path)
        if int(json.loads(told.stdout)["virtual-size"]) < wanted:
            self._check(self._run(["qemu-img", "resize", "-q", "-f", kind, path, str(wanted)]), path)

    def read_file(self, image: Path, path: str) -> bytes:
        import tempfile

        if not path.startswith("/") or re.search(r"[\"\x00-\x1f\x7f]", path):
            raise HostError(f"{path!r} is not a path that can be read from a disk")
        said = self._debugfs(image, f'stat "{path}"').stdout.decode(errors="replace")
        kind = re.search(r"^Inode: \d+ +Type: (\w+)", said, re.MULTILINE)
        size = re.search(r"^User: .* Size: (\d+)", said, re.MULTILINE)
        if kind is None or size is None:
            raise HostError(f"there is no {path} in {image}")
        if kind[1] != "regular" or int(size[1]) > READ_LIMIT:
            raise HostError(f"{path} in {image} is not a regular file of at most {READ_LIMIT >> 20} MiB")
        with tempfile.TemporaryFile() as file:
            self._commands.run(["debugfs", "-R", f'cat "{path}"', image], timeout=60, stdout=file)
            file.seek(0)
            return file.read(READ_LIMIT)

    def read_uuid(self, image: Path) -> str:
        import uuid

        return str(uuid.UUID(bytes=_read_superblock(image)[0x68:0x78]))

    def _fill(self, line: list[str | Path], path: Path) -> bool:
        """Run mke2fs on content; true when it ran as mapped root, to which files of any mode are open."""
        if os.geteuid() != 0 and self._commands.find("unshare") is not None:
            done = self._run(["unshare", "--user", "--map-root-user", "--", *line])
            if done.status == 0 or b"unshare:" not in done.stderr:
                self._check(done, path)
                return True
        self._check(self._run(line), path)
        return False

    def _give_to_root(self, path: Path) -> None:
        """Set the owner of every inode in a file system that mke2fs has just filled.

        It hands inodes out in order, so the used ones are a range and no path needs to be quoted.
        """
        superblock = _read_superblock(path)
        used = int.from_bytes(superblock[0:4], "little") - int.from_bytes(superblock[16:20], "little")
        script = "".join(f"sif <{inode}> uid 0\nsif <{inode}> gid 0\n" for inode in range(11, used + 1))
        done = self._run(["debugfs", "-w", "-f", "/dev/stdin", path], input=script.encode())
        self._check(done, path)

    def _debugfs(self, image: Path, request: str) -> Completed:
        _read_superblock(image)
        return self._commands.run(["debugfs", "-R", request, image], timeout=60)

    def _run(self, line: list[str | Path], input: bytes | None = None) -> Completed:
        return self._commands.run(line, timeout=_TIMEOUT, check=False, input=input)

    def _check(self, done: Completed, path: Path) -> None:
        from banger.host.command import failed_program

        if done.status == 0:
            return
        said = (done.stderr + done.stdout).decode(errors="replace")
        if _SPACE.search(said):
            raise no_space(path)
        if "Could not allocate" in said:
            hint = "ask for a bigger disk"
            raise HostError(
                f"the content does not fit on a disk of {path.stat().st_size >> 20} MiB", hint=hint
            )
        raise failed_program(done)


@contextlib.contextmanager
def _making(path: Path, size: int | None = None) -> Iterator[None]:
    """Make an empty private file, sparse of ``size`` bytes; remove it when the block fails."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        _refuse(path, error)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.truncate(size or 0)
        yield
    except OSError as error:
        path.unlink(missing_ok=True)
        _refuse(path, error)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _refuse(path: Path, error: OSError) -> NoReturn:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise no_space(path) from error
    raise HostError(f"{path} cannot be made: {error.strerror}") from error


def no_space(path: Path) -> HostError:
    """Return the error for a full file system, naming it and what is left on it."""
    import shutil

    directory = path.absolute().parent
    while not os.path.ismount(directory):
        directory = directory.parent
    free = shutil.disk_usage(directory).free >> 20
    hint = "free some, or delete VMs and images that are not needed"
    return HostError(
        f"no space left on the file system at {directory} ({free} MiB free) for {path.name}", hint=hint
    )


def has_foreign_owners(directory: Path) -> bool:
    """Return whether anything below belongs to another user or group than this process."""
    mine = (os.geteuid(), os.getegid())
    for parent, names, files in os.walk(directory):
        for name in (*names, *files):
            status = os.lstat(os.path.join(parent, name))
            if (status.st_uid, status.st_gid) != mine:
                return True
    return False


def has_ext4(image: Path) -> bool:
    """Tell whether a file holds an ext4 file system."""
    try:
        _read_superblock(image)
    except HostError:
        return False
    return True


def _read_superblock(image: Path) -> bytes:
    try:
        with open(image, "rb") as file:
            file.seek(_SUPERBLOCK)
            superblock = file.read(1024)
    except OSError as error:
        raise HostError(f"{image} cannot be read: {error.strerror}") from error
    if len(superblock) < 1024 or superblock[0x38:0x3A] != _MAGIC:
        raise HostError(f"{image} is not an ext4 file system")
    return superblock


def allocated_bytes(path: Path) -> int:
    """Return the bytes that a file, or all in a directory, takes on the host's disk, holes left out."""
    total = os.lstat(path).st_blocks * 512
    for parent, names, files in os.walk(path):
        for name in (*names, *files):
            with contextlib.suppress(FileNotFoundError):  # a VM that runs makes and removes files
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


def digest_file(path: Path, progress: Callable[[int, int], None] | None = None) -> str:
    """Return ``sha256:`` and the SHA-256 of a file's content, the same as ``sha256sum`` prints.

    Holes are hashed as the zeros they stand for, but not read: for them only the hash itself costs time.

    :param progress: called with bytes done and bytes in all, every 16 MiB; what it raises ends the work.
    :raises HostError: the file cannot be read.
    """
    import hashlib

    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            total = os.fstat(file.fileno()).st_size
            done = reported = 0
            for chunk in _chunks(file.fileno(), total):
                digest.update(chunk)
                done += len(chunk)
                if progress is not None and (done - reported >= 16 << 20 or done == total):
                    reported = done
                    progress(done, total)
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}") from error
    return f"sha256:{digest.hexdigest()}"


def _chunks(descriptor: int, size: int) -> Iterator[memoryview]:
    """Yield a file's content in pieces of at most 1 MiB, holes from one piece of zeros."""
    zeros = memoryview(bytes(1 << 20))
    buffer = memoryview(bytearray(1 << 20))
    offset = 0
    for start, end in _extents(descriptor, size):
        while offset < start:
            yield zeros[: min(len(zeros), start - offset)]
            offset += min(len(zeros), start - offset)
        while offset < end and (count := os.preadv(descriptor, [buffer[: end - offset]], offset)):
            yield buffer[:count]
            offset += count


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where data starts and ends; the last pair is empty and lies at the end of the file."""
    import errno

    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, min(end, size)
    yield size, size
