"""The merged tree of an image's layers, in memory.

Contents lie in blocks of the image's disk, so no name of an archive touches the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from banger.api import ImageError
from banger_images_oci.blocks import Run

#: Entries of a tree, and bytes of a path: what a bounded memory holds, and what Linux takes.
ENTRY_LIMIT, PATH_LIMIT, NAME_LIMIT = 300_000, 3000, 255


@dataclass(slots=True)
class Node:
    """An inode: ``kind`` is one of ``dflcbp``; ``runs`` say where its content is on the disk."""

    kind: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    runs: tuple[Run, ...] = ()
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    children: dict[bytes, Node] = field(default_factory=dict)
    #: The layer that last put a name here: what a whiteout of the same layer must not take away.
    born: dict[bytes, int] = field(default_factory=dict)


def split_path(name: bytes, what: str) -> list[bytes]:
    """Return a path's parts, ``.`` and leading ``./`` left out; ImageError for one that is not safe to carry."""
    if name.startswith(b"/"):
        raise ImageError(f"the layer has an absolute {what}: {_shown(name)}")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ImageError(f"the layer has a {what} with '..': {_shown(name)}")
    if len(name) > PATH_LIMIT or any(len(part) > NAME_LIMIT for part in parts):
        raise ImageError(f"the layer has a {what} that is too long: {_shown(name)}")
    if b"\0" in name:
        raise ImageError(f"the layer has a {what} with NUL in it: {_shown(name)}")
    return parts


def _shown(name: bytes) -> str:
    return ascii(name[:80].decode(errors="replace"))


class Tree:
    """What the layers so far make."""

    def __init__(self) -> None:
        self.root = Node("d")
        self.count = 1
        self.layer = 0
        # Of the layer that is read: what it deletes from older ones, by path; true: only what is in it.
        self._deleted: dict[tuple[bytes, ...], bool] = {}

    def begin_layer(self) -> None:
        """Say that what comes is of the next layer."""
        self.layer += 1

    def end_layer(self) -> None:
        """Delete what the layer's whiteouts name, wherever in it they stood; what it has itself stays.

        What is below a directory that was deleted is not looked at again, so the work is bounded by the tree.
        """
        done: set[tuple[bytes, ...]] = set()
        for path, opaque in sorted(self._deleted.items()):
            if not any(path[:length] in done for length in range(len(path) + 1)):
                self._delete(path, opaque)
                done.add(path)
        self._deleted.clear()

    def find(self, parts: Sequence[bytes]) -> Node | None:
        """Return what is at a path; links are never followed."""
        node: Node | None = self.root
        for part in parts:
            if node is None or node.kind != "d":
                return None
            node = node.children.get(part)
        return node

    def directory(self, parts: list[bytes]) -> Node:
        """Return the directory at a path, made where it is missing.

        :raises ImageError: something on the way is no directory: an archive that writes through a link.
        """
        node = self.root
        for depth, part in enumerate(parts, start=1):
            child = node.children.get(part)
            if child is None or (child.kind != "d" and self._is_deleted(node, parts[:depth])):
                child = Node("d")
                self._place(node, part, child)
            elif child.kind != "d":
                raise ImageError(
                    f"the layer writes through {_shown(b'/'.join(parts))}, which is no directory"
                )
            node = child
        return node

    def put(self, parts: list[bytes], node: Node) -> None:
        """Place a node; a directory over a directory keeps what is in it."""
        if not parts:
            if node.kind != "d":
                raise ImageError("the layer makes / something else than a directory")
            node.children, node.born = self.root.children, self.root.born
            self.root = node
            return
        parent = self.directory(parts[:-1])
        before = parent.children.get(parts[-1])
        if before is not None and before.kind == "d" and node.kind == "d":
            node.children, node.born = before.children, before.born
        self._place(parent, parts[-1], node)

    def link(self, parts: list[bytes], target: list[bytes]) -> None:
        """Make a hard link to a file that is in the tree; never to a directory."""
        node = self.find(target)
        if node is None or node.kind == "d" or not parts:
            raise ImageError(
                f"the layer has a hard link to {_shown(b'/'.join(target))}, which is no file in it"
            )
        self._place(self.directory(parts[:-1]), parts[-1], node)

    def whiteout(self, parts: list[bytes], name: bytes) -> None:
        """Delete what older layers have under a name, at the end of the layer."""
        if name in (b"", b".", b".."):
            raise ImageError("the layer has a whiteout of '.' or '..'")
        self._count()
        self._deleted[(*parts, name)] = False

    def opaque(self, parts: list[bytes]) -> None:
        """Delete everything that older layers have in a directory, at the end of the layer."""
        self._count()
        self._deleted.setdefault(tuple(parts), True)

    def walk(self) -> Iterator[tuple[tuple[bytes, ...], Node]]:
        """Yield every entry but the root with its path, by name, a directory before what is in it."""
        stack: list[tuple[tuple[bytes, ...], Node]] = [((), self.root)]
        while stack:
            path, node = stack.pop()
            if path:
                yield path, node
            stack.extend(((*path, name), node.children[name]) for name in sorted(node.children, reverse=True))

    def _is_deleted(self, parent: Node, path: list[bytes]) -> bool:
        return parent.born[path[-1]] != self.layer and self._deleted.get(tuple(path)) is False

    def _place(self, parent: Node, name: bytes, node: Node) -> None:
        self._count()
        parent.children[name], parent.born[name] = node, self.layer

    def _delete(self, path: tuple[bytes, ...], opaque: bool) -> None:
        node = self.find(path)
        if node is None:
            return
        if node.kind == "d":
            self._keep_new(node)
        parent = self.find(path[:-1])
        if opaque or parent is None or parent.born[path[-1]] == self.layer:
            return
        if node.kind == "d" and node.children:
            # Deleted, and made again by what this layer has in it without saying how.
            parent.children[path[-1]] = Node("d", children=node.children, born=node.born)
        else:
            del parent.children[path[-1]], parent.born[path[-1]]

    def _keep_new(self, top: Node) -> None:
        """Keep in a directory what is of this layer, and directories on the way to it."""
        below = [(top, b"", top)]
        for _, _, node in below:
            below.extend((node, name, child) for name, child in node.children.items() if child.kind == "d")
        for parent, name, node in reversed(below):
            for inner in [inner for inner in node.children if node.born[inner] != self.layer]:
                if node.children[inner].kind != "d" or not node.children[inner].children:
                    del node.children[inner], node.born[inner]
            if node is not top and parent.born[name] != self.layer and node.children:
                parent.children[name] = Node("d", children=node.children, born=node.born)

    def _count(self) -> None:
        self.count += 1
        if self.count > ENTRY_LIMIT:
            raise ImageError(f"the image has more than {ENTRY_LIMIT} entries")
