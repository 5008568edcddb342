"""Writing a tree as ext4 around contents that lie on their blocks already. No root, no user namespace, no mount.

mke2fs makes an empty file system whose tables lie where no content is; inodes and directories are written into it, and
tune2fs adds the checksums. The clock is the newest file's, so the same layers give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from banger.api import ImageError
from banger_images_oci import ext4
from banger_images_oci.blocks import (
    BLOCK,
    FLEX,
    GROUP,
    GROUP_INODES,
    JOURNAL,
    JOURNAL_START,
    Run,
    punch,
)
from banger_images_oci.tree import Node

if TYPE_CHECKING:
    from banger.api import PullContext
    from banger_images_oci.layers import LayerReader

_TIMEOUT = 3600.0
_ROOT, _FIRST_INODE, _DESCRIPTOR = 2, 11, 64
#: Blocks that a file system can be grown to online: 512 GiB, for which its descriptors have room.
_GROWN = 512 << 18
_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize"
)


def make_disk(reader: LayerReader, file: IO[bytes], target: Path, uuid: str, ctx: PullContext) -> None:
    """Make the file system of a reader's tree in ``target``, to which its contents were written.

    :param file: the same file, opened for reading and writing.
    :raises ImageError: the image holds what ext4 cannot.
    """
    for runs in _find_dead(reader):
        reader.blocks.forget(runs)
    writer = _Writer(reader, max(reader.newest, 1))
    writer.write(ctx)
    reader.blocks.flush()
    groups = _find_groups(reader.blocks.end, writer.last)
    environment = {"E2FSPROGS_FAKE_TIME": str(writer.now), "DEBUGFS_PAGER": "cat"}
    _make_empty(target, groups, uuid, environment, ctx)
    ctx.progress("writing the disk")
    tables = _fill(file.fileno(), groups, writer, [run for runs in _find_dead(reader) for run in runs])
    _run(["tune2fs", "-O", "metadata_csum", target], environment, ctx)
    tables.punch_unused(writer.last)
    _add_attributes(writer.attributes, target, environment, ctx)
    _run(["debugfs", "-w", "-R", "ssv kbytes_written 0", target], environment, ctx)


def _find_dead(reader: LayerReader) -> list[tuple[Run, ...]]:
    """Return where files were that later layers replaced or deleted."""
    alive = {node.runs[0].physical for _, node in reader.tree.walk() if node.runs}
    return [runs for runs in reader.taken if runs[0].physical not in alive]


def _find_groups(end: int, inodes: int) -> int:
    """Return how many groups hold the contents and a little more, and a quarter more inodes than there are."""
    blocks = end + end // 8 + (64 << 20) // BLOCK
    return max(-(-blocks // GROUP), -(-(inodes * 5 // 4 + 1024) // GROUP_INODES))


def _make_empty(target: Path, groups: int, uuid: str, environment: dict[str, str], ctx: PullContext) -> None:
    line = f"mke2fs -q -F -t ext4 -b {BLOCK} -I {ext4.INODE_SIZE} -g {GROUP} -G {FLEX} -m 1 -L banger-root"
    journal = f"size={JOURNAL * BLOCK >> 20},location={JOURNAL_START}"
    extended = (
        f"lazy_itable_init=0,lazy_journal_init=1,nodiscard,root_owner=0:0,hash_seed={uuid},resize={_GROWN}"
    )
    options = ["-O", _FEATURES, "-J", journal, "-N", str(groups * GROUP_INODES), "-U", uuid, "-E", extended]
    _run([*line.split(), *options, target, str(groups * GROUP)], environment, ctx)


def _run(line: list[str | Path], environment: dict[str, str], ctx: PullContext) -> None:
    ctx.commands.run(line, timeout=_TIMEOUT, env=environment)


@dataclass(slots=True)
class _Writer:
    """Numbers the inodes and puts what they need into blocks."""

    reader: LayerReader
    now: int
    last: int = _FIRST_INODE - 1
    #: Inodes in order, the root's first; how many of each group's are directories; attributes by inode.
    table: bytearray = field(default_factory=bytearray)
    root: bytes = b""
    directories: list[int] = field(default_factory=list)
    attributes: list[tuple[int, str, bytes]] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)
    _links: dict[int, int] = field(default_factory=dict)

    def write(self, ctx: PullContext) -> None:
        """Write directories and trees of extents, and make the table."""
        root = self.reader.tree.root
        self._numbers[id(root)] = _ROOT
        nodes: list[Node] = []
        for _, node in self.reader.tree.walk():
            self._links[id(node)] = self._links.get(id(node), 0) + 1
            if id(node) not in self._numbers:
                self.last += 1
                self._numbers[id(node)] = self.last
                nodes.append(node)
        parents = {id(root): _ROOT}
        self.root = self._inode(root, _ROOT, parents)
        for count, node in enumerate(nodes):
            self.table += self._inode(node, _FIRST_INODE + count, parents)
            if count % 4096 == 0:
                ctx.progress("writing the disk")

    def _inode(self, node: Node, number: int, parents: dict[int, int]) -> bytes:
        self.attributes += [(number, name, data) for name, data in node.xattrs]
        links = self._links.get(id(node), 1)
        if node.kind == "d":
            return self._directory(node, number, parents)
        if links > ext4.LINK_LIMIT:
            raise ImageError(f"the image has a file with more than {ext4.LINK_LIMIT} names")
        if node.kind == "f":
            return self._with_runs(node, node.size, links, node.runs)
        if node.kind == "l" and len(node.target) > ext4.FAST_LINK:
            where = self.reader.blocks.put_whole(node.target.ljust(BLOCK, b"\0"))
            return self._with_runs(node, len(node.target), links, (Run(0, where, 1),))
        data = node.target if node.kind == "l" else ext4.device_data(*node.device)
        size = len(node.target) if node.kind == "l" else 0
        return self._pack(node, size, links, data=data)

    def _directory(self, node: Node, number: int, parents: dict[int, int]) -> bytes:
        group = (number - 1) // GROUP_INODES
        self.directories += [0] * (group + 1 - len(self.directories))
        self.directories[group] += 1
        inner = [child for child in node.children.values() if child.kind == "d"]
        parents.update((id(child), number) for child in inner)
        entries = (
            (name, self._numbers[id(child)], child.kind) for name, child in sorted(node.children.items())
        )
        runs: list[Run] = []
        for block in ext4.make_directory(number, parents[id(node)], entries):
            where = self.reader.blocks.put_whole(block)
            logical = runs[-1].logical + runs[-1].blocks if runs else 0
            if runs and runs[-1].physical + runs[-1].blocks == where:
                runs[-1] = runs[-1]._replace(blocks=runs[-1].blocks + 1)
            else:
                runs.append(Run(logical, where, 1))
        size = (runs[-1].logical + runs[-1].blocks) * BLOCK
        links = len(inner) + 2
        return self._with_runs(node, size, links if links <= ext4.LINK_LIMIT else 1, tuple(runs))

    def _with_runs(self, node: Node, size: int, links: int, runs: tuple[Run, ...]) -> bytes:
        data, taken = ext4.make_extents(runs, self.reader.blocks.put_whole)
        return self._pack(node, size, links, taken + sum(run.blocks for run in runs), data, extents=True)

    def _pack(
        self, node: Node, size: int, links: int, blocks: int = 0, data: bytes = b"", extents: bool = False
    ) -> bytes:
        mode = ext4.TYPES[node.kind] | node.mode
        return ext4.Inode(
            mode, node.uid, node.gid, size, links, node.mtime, self.now, blocks, data, extents
        ).pack()


def _fill(descriptor: int, groups: int, writer: _Writer, dead: list[Run]) -> _Tables:
    """Put the inodes into the tables, and what was taken into bitmaps and counts."""
    superblock = bytearray(os.pread(descriptor, 1024, 1024))
    blocks, per_group, inodes = (int.from_bytes(superblock[at : at + 4], "little") for at in (4, 32, 40))
    if (blocks, per_group, inodes) != (groups * GROUP, GROUP, GROUP_INODES):
        raise _fault(f"{blocks} blocks, {per_group} and {inodes} in a group")
    tables = _Tables(descriptor, groups)
    for inode in (_ROOT, _FIRST_INODE):  # mke2fs's own root directory and lost+found
        tables.free_old(inode)
    for start, end in writer.reader.blocks.spans:
        tables.take(start, end)
    for run in dead:
        tables.blocks.clear(run.physical, run.physical + run.blocks)
    tables.inodes_used(writer.last)
    tables.write_inodes(_ROOT, writer.root)
    tables.write_inodes(_FIRST_INODE, bytes(writer.table) or bytes(ext4.INODE_SIZE))
    free_blocks, free_inodes = tables.close(writer.directories)
    struct.pack_into("<II", superblock, 12, free_blocks & 0xFFFFFFFF, free_inodes)
    struct.pack_into("<I", superblock, 0x158, free_blocks >> 32)
    os.pwrite(descriptor, superblock, 1024)
    return tables


def _fault(what: str) -> ImageError:
    return ImageError(
        f"mke2fs made another file system than was asked for ({what})",
        hint="this is a fault: report it with what mke2fs -V says",
    )


class _Bits:
    """A bitmap over all groups."""

    def __init__(self, data: bytearray) -> None:
        self.data = data

    def is_clear(self, start: int, end: int) -> bool:
        """Tell whether no bit is set."""
        first, last = start // 8, -(-end // 8)
        mask = (1 << end - start) - 1 << start - first * 8
        return not int.from_bytes(self.data[first:last], "little") & mask

    def set(self, start: int, end: int) -> None:
        """Set bits."""
        self._change(start, end, True)

    def clear(self, start: int, end: int) -> None:
        """Clear bits."""
        self._change(start, end, False)

    def _change(self, start: int, end: int, value: bool) -> None:
        first, last = start // 8, -(-end // 8)
        mask = (1 << end - start) - 1 << start - first * 8
        bits = int.from_bytes(self.data[first:last], "little")
        bits = bits | mask if value else bits & ~mask
        self.data[first:last] = bits.to_bytes(last - first, "little")


class _Tables:
    """Group descriptors, bitmaps and inode tables of the file system that mke2fs made."""

    def __init__(self, descriptor: int, groups: int) -> None:
        self._descriptor, self._groups = descriptor, groups
        self._descriptors = bytearray(os.pread(descriptor, groups * _DESCRIPTOR, BLOCK))
        self._block_bitmaps, self._inode_bitmaps, self._tables = (
            [
                int.from_bytes(self._descriptors[at : at + 4], "little")
                for at in range(offset, groups * _DESCRIPTOR, _DESCRIPTOR)
            ]
            for offset in (0, 4, 8)
        )
        self.blocks = _Bits(bytearray(b"".join(self._read(where) for where in self._block_bitmaps)))
        self._inodes = [bytearray(self._read(where)) for where in self._inode_bitmaps]

    def free_old(self, inode: int) -> None:
        """Give back the blocks of a directory."""
        count = 0
        data = os.pread(self._descriptor, ext4.INODE_SIZE, self._place(inode))
        entries = int.from_bytes(data[42:44], "little")
        for at in range(52, 52 + 12 * min(entries, 4), 12):
            _, count, _, start = struct.unpack_from("<IHHI", data, at)
            self.blocks.clear(start, start + count)
            punch(self._descriptor, start, count)

    def take(self, start: int, end: int) -> None:
        """Mark blocks as used; they have to be free."""
        if not self.blocks.is_clear(start, end):
            raise _fault(f"tables between {start} and {end}")
        self.blocks.set(start, end)

    def inodes_used(self, last: int) -> None:
        """Mark all inodes up to one as used, and no others."""
        _Bits(self._inodes[0]).clear(_FIRST_INODE - 1, _FIRST_INODE)
        for group, bitmap in enumerate(self._inodes):
            used = min(max(last - group * GROUP_INODES, 0), GROUP_INODES)
            if used:
                _Bits(bitmap).set(0, used)

    def write_inodes(self, first: int, data: bytes) -> None:
        """Write inodes one behind the other."""
        done = 0
        while done < len(data):
            left = GROUP_INODES - (first - 1) % GROUP_INODES
            piece = data[done : done + left * ext4.INODE_SIZE]
            os.pwrite(self._descriptor, piece, self._place(first))
            done += len(piece)
            first += left

    def punch_unused(self, last: int) -> None:
        """Make holes of the zeros that tune2fs wrote behind the last inode."""
        whole = GROUP_INODES * ext4.INODE_SIZE // BLOCK
        for group, table in enumerate(self._tables):
            used = min(max(last - group * GROUP_INODES, 0), GROUP_INODES)
            start, end = table + -(-used * ext4.INODE_SIZE // BLOCK), table + whole
            if start < end and _is_zeros(os.pread(self._descriptor, (end - start) * BLOCK, start * BLOCK)):
                punch(self._descriptor, start, end - start)

    def close(self, directories: list[int]) -> tuple[int, int]:
        """Write bitmaps and descriptors; return how many blocks and inodes are free."""
        free_blocks = free_inodes = 0
        for group in range(self._groups):
            bitmap = self.blocks.data[group * BLOCK : (group + 1) * BLOCK]
            os.pwrite(self._descriptor, bitmap, self._block_bitmaps[group] * BLOCK)
            os.pwrite(self._descriptor, self._inodes[group], self._inode_bitmaps[group] * BLOCK)
            blocks, inodes = _count_free(bitmap), _count_free(self._inodes[group])
            used = directories[group] if group < len(directories) else 0
            struct.pack_into("<HHH", self._descriptors, group * _DESCRIPTOR + 12, blocks, inodes, used)
            free_blocks += blocks
            free_inodes += inodes
        os.pwrite(self._descriptor, self._descriptors, BLOCK)
        return free_blocks, free_inodes

    def _read(self, block: int) -> bytes:
        return os.pread(self._descriptor, BLOCK, block * BLOCK)

    def _place(self, inode: int) -> int:
        group, within = divmod(inode - 1, GROUP_INODES)
        return self._tables[group] * BLOCK + within * ext4.INODE_SIZE


def _is_zeros(data: bytes) -> bool:
    return data.count(0) == len(data)


def _count_free(bitmap: bytearray) -> int:
    return BLOCK * 8 - int.from_bytes(bitmap, "little").bit_count()


def _add_attributes(
    attributes: list[tuple[int, str, bytes]], target: Path, environment: dict[str, str], ctx: PullContext
) -> None:
    """Add extended attributes in one pass of debugfs, by the numbers of the inodes: no name of the image is in it."""
    if not attributes:
        return
    made: dict[bytes, Path] = {}
    lines = []
    for inode, name, data in attributes:
        if data not in made:
            made[data] = target.with_name(f"xattr-{hashlib.sha256(data).hexdigest()}")
            made[data].write_bytes(data)
        lines.append(f'ea_set -f "{made[data]}" <{inode}> {name}\n')
    script = target.with_name("script")
    script.write_text("".join(lines))
    with open(os.devnull, "wb") as nowhere:  # it repeats every line
        done = ctx.commands.run(
            ["debugfs", "-w", "-f", script, target], timeout=_TIMEOUT, env=environment, stdout=nowhere
        )
    said = [line for line in done.stderr.decode(errors="replace").splitlines() if "debugfs 1." not in line]
    if said:
        raise ImageError(f"debugfs refused an extended attribute: {ascii(said[0])[1:-1][:200]}")
    for path in (script, *made.values()):
        path.unlink()
