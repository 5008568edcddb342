"""The merged tree of an image's layers, in memory.

Contents lie in numbered files, so no name of an archive touches the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from banger.api import ImageError

#: Entries of a tree, and bytes of a path: what a bounded memory holds, and what Linux takes.
ENTRY_LIMIT, PATH_LIMIT, NAME_LIMIT = 300_000, 3000, 255


@dataclass(slots=True)
class Node:
    """An inode: ``kind`` is one of ``dfslcb`` plus ``p``; ``content`` the number of its content's file."""

    kind: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    content: int = 0
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    links: int = 1
    layer: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    children: dict[bytes, Node] = field(default_factory=dict)


def split_path(name: bytes, what: str) -> list[bytes]:
    """Return a path's parts, ``.`` and leading ``./`` left out; ImageError for one that is not safe to carry."""
    if name.startswith(b"/"):
        raise ImageError(f"the layer has an absolute {what}: {_shown(name)}")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ImageError(f"the layer has a {what} with '..': {_shown(name)}")
    if len(name) > PATH_LIMIT or any(len(part) > NAME_LIMIT for part in parts):
        raise ImageError(f"the layer has a {what} that is too long: {_shown(name)}")
    if any(byte in name for byte in (b"\0", b"\n", b"\r")):
        raise ImageError(
            f"the layer has a {what} with a line break or NUL, which debugfs cannot carry: {_shown(name)}"
        )
    return parts


def _shown(name: bytes) -> str:
    return ascii(name[:80].decode(errors="replace"))


class Tree:
    """What the layers so far make."""

    def __init__(self) -> None:
        self.root = Node("d")
        self.count = 1

    def find(self, parts: list[bytes]) -> Node | None:
        """Return what is at a path; links are never followed."""
        node: Node | None = self.root
        for part in parts:
            if node is None or node.kind != "d":
                return None
            node = node.children.get(part)
        return node

    def directory(self, parts: list[bytes], layer: int) -> Node:
        """Return the directory at a path, made where it is missing.

        :raises ImageError: something on the way is no directory: an archive that writes through a link.
        """
        node = self.root
        for part in parts:
            child = node.children.get(part)
            if child is None:
                child = Node("d", layer=layer)
                self._count()
                node.children[part] = child
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
            node.children = self.root.children
            self.root = node
            return
        parent = self.directory(parts[:-1], node.layer)
        before = parent.children.get(parts[-1])
        if before is not None and before.kind == "d" and node.kind == "d":
            node.children = before.children
        self._count()
        parent.children[parts[-1]] = node

    def link(self, parts: list[bytes], target: list[bytes], layer: int) -> None:
        """Make a hard link to a file that is in the tree; never to a directory."""
        node = self.find(target)
        if node is None or node.kind == "d" or not parts:
            raise ImageError(
                f"the layer has a hard link to {_shown(b'/'.join(target))}, which is no file in it"
            )
        parent = self.directory(parts[:-1], layer)
        self._count()
        parent.children[parts[-1]] = node

    def whiteout(self, parts: list[bytes], name: bytes, layer: int) -> None:
        """Delete what older layers have under a name."""
        if name in (b"", b".", b".."):
            raise ImageError("the layer has a whiteout of '.' or '..'")
        parent = self.find(parts)
        if parent is not None and parent.kind == "d":
            there = parent.children.get(name)
            if there is not None and there.layer != layer:
                del parent.children[name]

    def opaque(self, parts: list[bytes], layer: int) -> None:
        """Delete everything that older layers have in a directory."""
        parent = self.find(parts)
        if parent is not None and parent.kind == "d":
            _keep_layer(parent, layer)

    def walk(self) -> Iterator[tuple[tuple[bytes, ...], Node]]:
        """Yield every entry but the root with its path, by name, a directory before what is in it."""
        stack: list[tuple[tuple[bytes, ...], Node]] = [((), self.root)]
        while stack:
            path, node = stack.pop()
            if path:
                yield path, node
            stack.extend(((*path, name), node.children[name]) for name in sorted(node.children, reverse=True))

    def _count(self) -> None:
        self.count += 1
        if self.count > ENTRY_LIMIT:
            raise ImageError(f"the image has more than {ENTRY_LIMIT} entries")


def _keep_layer(node: Node, layer: int) -> None:
    stack = [node]
    while stack:
        parent = stack.pop()
        for name, child in list(parent.children.items()):
            if child.kind == "d" and child.layer == layer:
                stack.append(child)
            elif child.layer != layer:
                del parent.children[name]
