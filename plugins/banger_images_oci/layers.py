"""Reading layers into a tree. ``tarfile`` parses headers and nothing else: no extraction, no path on the host."""

from __future__ import annotations

import tarfile
from typing import Any

from banger.api import ImageError
from banger_images_oci.blocks import BLOCK, Blocks, Run
from banger_images_oci.stream import LayerStream
from banger_images_oci.tree import Node, Tree, split_path

_CHUNK = 1024 * 1024
#: Bytes of an extended header, of a file, of all files, and of a link's target.
_EXTENDED_LIMIT, _FILE_LIMIT, _TOTAL_LIMIT, _TARGET_LIMIT = 1024 * 1024, 64 * 1024**3, 128 * 1024**3, 4095
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_XATTR = "SCHILY.xattr."
_KINDS = {tarfile.CHRTYPE: "c", tarfile.BLKTYPE: "b", tarfile.FIFOTYPE: "p"}


class Header(tarfile.TarInfo):
    """A header whose extensions are bounded before they are read into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Header:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENDED and header.size > _EXTENDED_LIMIT):
            raise ImageError("the layer has an extended header of more than 1 MiB, or one of a negative size")
        return header


def forget_members(tar: Any) -> None:
    """Drop the headers that a TarFile has read: it keeps every one otherwise, and an archive may have a million."""
    tar.members.clear()


class LayerReader:
    """Applies layers to a tree, oldest first; contents go to blocks of the image's disk.

    ``bytes`` is what they sum up to, ``newest`` the latest time stamp, in seconds since 1970.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.tree = Tree()
        self.bytes = 0
        self.newest = 0
        self.blocks = blocks
        #: Every run of every file that was read, those of files that are no more included.
        self.taken: list[tuple[Run, ...]] = []

    def apply(self, stream: LayerStream) -> None:
        """Apply a layer.

        :raises ImageError: it is no tar, is cut off, or holds what must not be.
        """
        self.tree.begin_layer()
        stream.search_header(True)
        try:
            with tarfile.open(
                fileobj=stream, mode="r:", tarinfo=Header, encoding="utf-8", errors="surrogateescape"
            ) as tar:
                while (entry := tar.next()) is not None:
                    stream.search_header(False)
                    self._take(tar, entry)
                    forget_members(tar)
                    stream.search_header(True)
        except (tarfile.TarError, ValueError, OverflowError, IndexError, EOFError) as error:
            raise ImageError(
                f"the layer is no tar that can be read: {ascii(str(error))[1:-1][:80]}"
            ) from error
        self.tree.end_layer()

    def _take(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        parts = split_path(_bytes(entry.name), "path")
        name = parts[-1] if parts else b""
        if name == b".wh..wh..opq":
            self.tree.opaque(parts[:-1])
        elif name.startswith(b".wh..wh."):
            return  # aufs' own bookkeeping
        elif name.startswith(b".wh."):
            self.tree.whiteout(parts[:-1], name[4:])
        elif entry.islnk():
            self.tree.link(parts, split_path(_bytes(entry.linkname).lstrip(b"/"), "link"))
        else:
            self.tree.put(parts, self._node(tar, entry))

    def _node(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Node:
        if not (0 <= entry.uid < 2**32 - 1 and 0 <= entry.gid < 2**32 - 1):
            raise ImageError(f"the layer has an owner that is no user: {entry.uid}:{entry.gid}")
        mtime = int(entry.mtime) if 0 <= entry.mtime < 2**32 else 0
        self.newest = max(self.newest, mtime)
        node = Node("f", entry.mode & 0o7777, entry.uid, entry.gid, mtime)
        node.xattrs = _xattrs(entry.pax_headers)
        if entry.isdir():
            node.kind = "d"
        elif entry.issym():
            node.kind, node.target = "l", _bytes(entry.linkname)
            if not 0 < len(node.target) <= _TARGET_LIMIT or b"\0" in node.target:
                raise ImageError("the layer has a symbolic link whose target cannot be carried")
        elif entry.type in _KINDS:
            node.kind, node.device = _KINDS[entry.type], (entry.devmajor, entry.devminor)
            if node.kind != "p" and not (0 <= entry.devmajor < 4096 and 0 <= entry.devminor < 2**20):
                raise ImageError("the layer has a device with an impossible number")
        elif entry.isreg():
            self._store(tar, entry, node)
        else:
            raise ImageError(f"the layer has an entry of an unknown type: {ascii(entry.type)[:20]}")
        return node

    def _store(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, node: Node) -> None:
        self.bytes += entry.size
        if entry.size > _FILE_LIMIT or self.bytes > _TOTAL_LIMIT:
            raise ImageError(f"the image's files are too big: more than {_TOTAL_LIMIT >> 30} GiB")
        node.size = entry.size
        source = tar.fileobj if entry.sparse is None else tar.extractfile(entry)
        assert source is not None
        runs: list[Run] = []
        for start in range(0, entry.size, _CHUNK):
            wanted = min(_CHUNK, entry.size - start)
            data = source.read(wanted)
            if len(data) < wanted:
                raise ImageError("the layer ends in the middle of a file")
            self.blocks.put(data, start // BLOCK, runs)
        if runs:
            node.runs = tuple(runs)
            self.taken.append(node.runs)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _xattrs(headers: Any) -> tuple[tuple[str, bytes], ...]:
    found = []
    for key in sorted(headers):
        if key.startswith(_XATTR):
            name, value = key.removeprefix(_XATTR), headers[key].encode("utf-8", "surrogateescape")
            # What the kernel keeps for itself in a guest, and what says who trusts whom on another machine, stays out.
            if name == "security.capability" or name.startswith("user."):
                if (
                    len(name) > 255
                    or len(value) > 3000
                    or not name.isascii()
                    or not name.replace(".", "").replace("_", "").replace("-", "").isalnum()
                ):
                    raise ImageError("the layer has an extended attribute that does not fit on the disk")
                found.append((name, value))
    return tuple(found)
