"""A directory inside an ext4 file, taken out without mounting it and without trusting it.

``debugfs`` is asked by inode numbers and writes into files called by numbers: no name inside the image is ever a path
on the host before it has been looked at.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from banger.api import Commands, ImageError, has_ext4

#: Bounds on what is taken out: of more than that no work disk begins.
MAX_BYTES, MAX_ENTRIES, MAX_DEPTH = 1 << 30, 65536, 64
_TIMEOUT = 300.0
#: Bytes of listings that are read, for all directories of one depth.
_LISTING = 32 << 20

_ENTRY = re.compile(rb"/(\d{1,10})/(\d{6})/\d+/\d+/(.*)/(\d*)/", re.DOTALL)
_ASKED = re.compile(rb"debugfs: +ls -p <(\d+)>")
_REGULAR, _DIRECTORY = 0o100000, 0o040000


@dataclass(frozen=True, slots=True)
class _Entry:
    inode: int
    mode: int
    size: int
    path: Path


def unpack_ext4(commands: Commands, image: Path, directory: str, target: Path) -> bool:
    """Copy the regular files and directories below a directory of an ext4 file to ``target``, which is made.

    What else there is is left out, and so are owners: everything belongs to the caller.

    :param directory: absolute, of plain letters.
    :returns: whether there is such a directory; without it nothing is made.
    :raises ImageError: it holds more than :data:`MAX_BYTES` or :data:`MAX_ENTRIES`, or is nested too deep.
    :raises HostError: the file is no ext4 file system.
    """
    if not has_ext4(image):
        raise ImageError(f"{image} is not an ext4 file system")
    said = commands.run(["debugfs", "-R", f"stat {directory}", image], timeout=_TIMEOUT).stdout
    top = re.search(rb"^Inode: (\d+) +Type: directory", said, re.MULTILINE)
    if top is None:
        return False
    target.mkdir(mode=0o700)
    files: list[_Entry] = []
    folders: list[_Entry] = [_Entry(int(top[1]), 0o700, 0, target)]
    everything: list[_Entry] = []
    seen = {folders[0].inode}
    for _ in range(MAX_DEPTH):
        found = _list(commands, image, folders)
        folders = [
            entry for entry in found if entry.mode & 0o170000 == _DIRECTORY and entry.inode not in seen
        ]
        seen |= {entry.inode for entry in folders}
        files += [entry for entry in found if entry.mode & 0o170000 == _REGULAR]
        everything += folders
        if len(files) + len(seen) > MAX_ENTRIES or sum(file.size for file in files) > MAX_BYTES:
            raise ImageError(
                f"{directory} in the image holds more than {MAX_ENTRIES} files or {MAX_BYTES >> 20} MiB"
            )
        for folder in folders:
            folder.path.mkdir(mode=0o700, exist_ok=True)
        if not folders:
            break
    else:
        raise ImageError(f"{directory} in the image is nested more than {MAX_DEPTH} directories deep")
    _fetch(commands, image, files, target)
    for folder in reversed(everything):
        folder.path.chmod(folder.mode & 0o777 | 0o700)
    return True


def _list(commands: Commands, image: Path, folders: list[_Entry]) -> list[_Entry]:
    """Return what is in directories: names that are none, and second entries of a name, are left out."""
    script = "".join(f"ls -p <{folder.inode}>\n" for folder in folders)
    with tempfile.TemporaryFile() as printed:
        commands.run(
            ["debugfs", "-f", "/dev/stdin", image], timeout=_TIMEOUT, input=script.encode(), stdout=printed
        )
        printed.seek(0)
        lines = printed.read(_LISTING).split(b"\n")
    places = {folder.inode: folder.path for folder in folders}
    here: Path | None = None
    found: dict[Path, _Entry] = {}
    for line in lines:
        if asked := _ASKED.match(line):
            here = places.get(int(asked[1]))
        entry = _ENTRY.fullmatch(line)
        name = os.fsdecode(entry[3]) if entry else ""
        if here is None or entry is None or name in ("", ".", "..") or "/" in name or "\0" in name:
            continue
        path = here / name
        found.setdefault(path, _Entry(int(entry[1]), int(entry[2], 8), int(entry[4] or 0), path))
    return list(found.values())


def _fetch(commands: Commands, image: Path, files: list[_Entry], target: Path) -> None:
    """Write the contents to files called by number, then give each its place."""
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        script = "".join(f"dump <{file.inode}> {number}\n" for number, file in enumerate(files))
        commands.run(
            ["debugfs", "-f", "/dev/stdin", image.absolute()],
            timeout=_TIMEOUT,
            input=script.encode(),
            cwd=Path(temporary),
        )
        for number, file in enumerate(files):
            content = Path(temporary, str(number))
            if content.is_file():
                content.chmod(file.mode & 0o777 | 0o400)
                content.rename(file.path)
