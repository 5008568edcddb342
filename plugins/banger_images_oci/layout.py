"""Images in files: a directory in the OCI layout, a tar of one, and what ``docker save`` writes.

Archives are copied blob by blob under names of our own; of an archive's names only those of blobs are looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from banger.api import ImageError, NotFoundError
from banger_images_oci.documents import BLOB_LIMIT, DOCUMENT_LIMIT, Blob

if TYPE_CHECKING:
    from banger.api import PullContext

_ENTRIES = 10_000
_CHUNK = 1024 * 1024


class Layout:
    """Blobs by digest in a directory, each checked when it is opened."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def index(self) -> bytes:
        """Return ``index.json``."""
        return self._read(self._directory / "index.json", DOCUMENT_LIMIT)

    def document(self, digest: str) -> bytes:
        """Return a document by its digest, checked."""
        data = self._read(self._path(digest), DOCUMENT_LIMIT)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise ImageError(f"the layout's blob {digest[:19]} has another digest")
        return data

    def open(self, blob: Blob) -> IO[bytes]:
        """Open a blob; ImageError when its size or digest is another."""
        file = open_regular(self._path(blob.digest))
        total = hashlib.sha256()
        while data := file.read(_CHUNK):
            total.update(data)
        if f"sha256:{total.hexdigest()}" != blob.digest or file.tell() != blob.size:
            file.close()
            raise ImageError(f"the layout's blob {blob.digest[:19]} has another digest or size")
        file.seek(0)
        return file

    def _path(self, digest: str) -> Path:
        return self._directory / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _read(self, path: Path, limit: int) -> bytes:
        with open_regular(path) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ImageError(f"{path.name} is longer than {limit >> 20} MiB")
        return data


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading; NotFoundError or ImageError when it is none. A pipe is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"there is no {path}", hint="name a file or directory with a whole image"
        ) from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ImageError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def unpack_layout(archive: Path, target: Path, ctx: PullContext) -> Layout:
    """Copy index and blobs of a tar to a new directory and return it."""
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    wanted = re.compile(r"(?:\./)?(?:(index\.json)|blobs/sha256/([0-9a-f]{64}))\Z")
    for name, file, size in _files(archive, ctx):
        if found := wanted.match(name):
            _copy(file, size, target / "index.json" if found[1] else blobs / found[2])
    return Layout(target)


def unpack_docker(archive: Path, target: Path, ctx: PullContext) -> Layout:
    """Turn what ``docker save`` wrote into a layout of one image and return it."""
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    known: dict[str, Blob] = {}
    for number, (name, file, size) in enumerate(_files(archive, ctx)):
        place = blobs / f"new-{number}"
        digest = _copy(file, size, place)
        place.rename(blobs / digest)
        known[name.removeprefix("./")] = Blob(f"sha256:{digest}", size)
    listed = known.get("manifest.json")
    layout = Layout(target)
    try:
        (image,) = json.loads(layout.document(listed.digest) if listed else b"[]")
        config, layers = known[image["Config"]], [known[name] for name in image["Layers"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        hint = "docker save IMAGE > FILE"
        raise ImageError(
            f"{archive.name} does not hold exactly one image of docker save", hint=hint
        ) from error
    kind = "application/vnd.oci.image.layer.v1.tar"
    manifest = {
        "schemaVersion": 2,
        "config": {"digest": config.digest, "size": config.size},
        "layers": [{"mediaType": kind, "digest": layer.digest, "size": layer.size} for layer in layers],
    }
    data = json.dumps(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    entry = {"digest": f"sha256:{digest}", "size": len(data)}
    (target / "index.json").write_text(json.dumps({"manifests": [entry]}))
    return layout


def _files(archive: Path, ctx: PullContext) -> Iterator[tuple[str, IO[bytes], int]]:
    from banger_images_oci.layers import Header, forget_members
    from banger_images_oci.stream import LayerStream

    with open_regular(archive) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with (
                LayerStream(
                    lambda: file,
                    size,
                    lambda done: ctx.progress("reading the archive", done=done, total=size),
                ) as stream,
                tarfile.open(fileobj=stream, mode="r|", tarinfo=Header) as tar,
            ):
                count = 0
                stream.search_header(True)
                while (entry := tar.next()) is not None:
                    count += 1
                    if count > _ENTRIES or entry.size > BLOB_LIMIT:
                        raise ImageError(
                            f"{archive.name} has more than {_ENTRIES} entries, or one that is too big"
                        )
                    stream.search_header(False)
                    if entry.isreg() and (content := tar.extractfile(entry)) is not None:
                        yield entry.name, content, entry.size
                    forget_members(tar)
                    stream.search_header(True)
        except (tarfile.TarError, ValueError, OverflowError, IndexError, EOFError) as error:
            raise ImageError(
                f"{archive.name} is no tar that can be read: {ascii(str(error))[1:-1][:80]}"
            ) from error


def _copy(source: IO[bytes], size: int, target: Path) -> str:
    total = hashlib.sha256()
    if target.exists():
        raise ImageError(f"the archive has {target.name[:19]} twice")
    with open(target, "xb") as file:
        while data := source.read(_CHUNK):
            total.update(data)
            file.write(data)
            size -= len(data)
    if size:
        raise ImageError("the archive ends in the middle of a blob")
    return total.hexdigest()
