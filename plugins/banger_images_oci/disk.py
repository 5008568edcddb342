"""Writing a tree as ext4: an empty file system and one pass of debugfs. No root, no user namespace, no mount.

debugfs is told every inode in order, and the newest file's time for its clock, so the same tree gives the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from banger.api import ImageError
from banger_images_oci.tree import Node

if TYPE_CHECKING:
    from banger.api import PullContext
    from banger_images_oci.layers import LayerReader

_TYPES = {"f": 0o100000, "d": 0o40000, "l": 0o120000, "c": 0o20000, "b": 0o60000, "p": 0o10000}
_TIMEOUT = 3600.0
#: Bytes of a line for debugfs. It reads lines in pieces of stdio's BUFSIZ (8192 in glibc, 1024 in musl) and takes the
#: rest of a longer one for the next command, and one of its commands starts programs.
_LINE_LIMIT = 1000


def make_disk(reader: LayerReader, contents: Path, target: Path, uuid: str, ctx: PullContext) -> None:
    """Write a reader's tree to ``target``, with a quarter more room than it takes; a guest grows it to its disk.

    :raises ImageError: debugfs refused something.
    """
    size = (reader.bytes >> 20) * 5 // 4 + reader.tree.count // 128 + 96
    inodes = max(65536, reader.tree.count * 3 // 2)
    newest = max(reader.newest, 1)
    environment = {"E2FSPROGS_FAKE_TIME": str(newest), "DEBUGFS_PAGER": "cat"}
    line = "mke2fs -q -F -t ext4 -b 4096 -I 256 -J size=32 -m 1 -L banger-root -O resize_inode,metadata_csum,64bit"
    extended = f"lazy_itable_init=0,lazy_journal_init=1,nodiscard,root_owner=0:0,hash_seed={uuid}"
    ctx.commands.run(
        [*line.split(), "-N", str(inodes), "-U", uuid, "-E", extended, target, f"{size}M"],
        timeout=_TIMEOUT,
        env=environment,
    )
    script = target.with_name("script")
    with open(script, "xb") as file:
        for number, line_ in enumerate(_script(reader.tree.root, contents, reader)):
            file.write(_check_line(line_) + b"\n")
            if number % 4096 == 0:
                ctx.progress("writing the disk")
    with open(os.devnull, "wb") as nowhere:  # it repeats every line
        done = ctx.commands.run(
            ["debugfs", "-w", "-f", script, target],
            timeout=_TIMEOUT,
            check=False,
            env=environment,
            stdout=nowhere,
        )
    said = [
        said
        for said in done.stderr.decode(errors="replace").splitlines()
        if not said.startswith("debugfs 1.")
    ]
    if done.status != 0 or said:
        if any("Could not allocate" in text or "No free space" in text for text in said):
            raise ImageError(
                "the image does not fit on the disk that was made for it", hint="this is a fault: report it"
            )
        raise ImageError(f"debugfs refused: {ascii(said[0])[1:-1][:200] if said else done.status}")
    script.unlink()
    _clean_superblock(target, environment, ctx)


def _check_line(line: bytes) -> bytes:
    """Return a line that debugfs takes for the one command that it is; whatever made it, nothing else goes there."""
    if any(byte in line for byte in (b"\n", b"\r", b"\0")):
        raise ImageError("the image has a name that debugfs cannot carry")
    if len(line) > _LINE_LIMIT:
        raise ImageError(f"the image has a path or a link that is too long: {ascii(line[:60])[2:-1]}…")
    return line


def _clean_superblock(target: Path, environment: dict[str, str], ctx: PullContext) -> None:
    """Set the one field that says how much was ever written here."""
    ctx.commands.run(
        ["debugfs", "-w", "-R", "ssv kbytes_written 0", target],
        timeout=60,
        env=environment,
    )


def _script(root: Node, contents: Path, reader: LayerReader) -> Iterator[bytes]:
    """Yield the lines: everything in a directory, from there, so that a line holds one name."""
    first: dict[int, bytes] = {}
    links: dict[int, int] = {}
    for _, node in reader.tree.walk():
        links[id(node)] = links.get(id(node), 0) + 1
    yield b"rmdir lost+found"
    yield from _inode(b"/", root, 2, contents)
    here: tuple[bytes, ...] = ()
    for path, node in reader.tree.walk():
        if path[:-1] != here:
            here = path[:-1]
            yield b"cd " + _quoted(b"/" + b"/".join(here))
        name, whole = path[-1], b"/" + b"/".join(path)
        if id(node) in first:
            yield b"ln " + _quoted(first[id(node)]) + b" " + _quoted(name)
            continue
        first[id(node)] = whole
        yield _make(name, node, contents)
        yield from _inode(b"./" + name, node, links[id(node)], contents)


def _make(name: bytes, node: Node, contents: Path) -> bytes:
    quoted = _quoted(name)
    if node.kind == "d":
        return b"mkdir " + quoted
    if node.kind == "f":
        return b"write " + _quoted(os.fsencode(contents / str(node.content))) + b" " + quoted
    if node.kind == "l":
        return b"symlink " + quoted + b" " + _quoted(node.target)
    if node.kind == "p":
        return b"mknod " + quoted + b" p"
    return b"mknod " + quoted + b" %s %d %d" % (node.kind.encode(), *node.device)


def _inode(path: bytes, node: Node, links: int, contents: Path) -> Iterator[bytes]:
    quoted = _quoted(path)
    values = [b"mode 0%o" % (_TYPES[node.kind] | node.mode)]
    if node.uid:
        values.append(b"uid %d" % node.uid)
    if node.gid:
        values.append(b"gid %d" % node.gid)
    values.append(b"mtime @%d" % node.mtime)
    if node.kind != "d" and links > 1:
        values.append(b"links_count %d" % links)
    for value in values:
        yield b"sif " + quoted + b" " + value
    for name, data in node.xattrs:
        file = contents / f"xattr-{hashlib.sha256(data).hexdigest()}"
        file.write_bytes(data)
        yield b"ea_set -f " + _quoted(os.fsencode(file)) + b" " + quoted + b" " + name.encode()


def _quoted(text: bytes) -> bytes:
    """Quote a word for debugfs' parser, in which a quote within quotes is written twice."""
    return b'"' + re.sub(rb'"', b'""', text) + b'"'
