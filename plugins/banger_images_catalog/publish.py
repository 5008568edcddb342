"""Making bundles, and writing them into a catalog that any web server can hand out."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from banger.api import ConflictError, HostError, ImageError, UsageError, digest_file
from banger_images_catalog.bundle import (
    INITRD,
    MODULES,
    ROOTFS,
    VMLINUZ,
    ImageManifest,
    KernelManifest,
    write_bundle,
)
from banger_images_catalog.document import DOCUMENT_LIMIT, parse_document, parse_json
from banger_images_catalog.place import check_place
from banger_images_catalog.tar import build_image

if TYPE_CHECKING:
    from banger.api import Image, Kernel, OperationContext, PullContext
    from banger_images_catalog.operations import Bundled, ImageBundleParams, KernelBundleParams, Target

#: Digits of the digest in a bundle's name.
_DIGITS = 16


def bundle_image(op: OperationContext, params: ImageBundleParams) -> Bundled:
    """Make a bundle of a tar or of an image in the store."""
    place = _check_target(params)
    if (params.image is None) == (params.rootfs_tar is None):
        raise UsageError(
            "a bundle is of an image here or of a tar, one of both",
            hint="banger image bundle NAME, or --rootfs-tar FILE --name NAME",
        )
    if params.rootfs_tar is not None:
        if params.name is None:
            raise UsageError("a bundle of a tar needs a name", hint="--name NAME")
        return _bundle_tar(op, params, place, params.name, Path(params.rootfs_tar))
    if params.size is not None:
        raise UsageError("--size goes with --rootfs-tar", hint="an image here has its size")
    assert params.image is not None
    return _bundle_stored(op, params, place, op.store.image(params.image))


def _bundle_tar(
    op: OperationContext, params: ImageBundleParams, place: Place, name: str, path: Path
) -> Bundled:
    with op.staging(f"bundle {name}", "catalog") as pull:
        if params.arch not in (None, pull.arch):
            raise UsageError(f"this machine makes bundles for {pull.arch}", hint=f"--arch {pull.arch}")
        pulled = build_image(op, pull, path)
        if params.size is not None:
            pull.disks.grow(pulled.rootfs, "raw", params.size)
        manifest = _image_manifest(
            name=name,
            distro=params.distro or _read_distro(pull, pulled.rootfs),
            arch=pull.arch,
            description=params.description,
            kernel_ref=params.kernel_ref or pulled.kernel_ref,
        )
        return _publish(pull, place, "images", manifest, {ROOTFS: pulled.rootfs})


def _bundle_stored(op: OperationContext, params: ImageBundleParams, place: Place, image: Image) -> Bundled:
    kernel_ref = params.kernel_ref or image.kernel_ref
    if kernel_ref is not None and kernel_ref.startswith("sha256:"):
        op.event("notice", text="the image's kernel is of this machine only; --kernel-ref names one for all")
        kernel_ref = None
    if params.arch not in (None, image.arch):
        raise UsageError(f"'{image.name}' is for {image.arch}", hint="leave --arch out")
    manifest = _image_manifest(
        name=params.name or image.name,
        distro=params.distro or image.distro,
        arch=image.arch,
        description=params.description,
        kernel_ref=kernel_ref,
        env=image.env,
        user=image.user,
        workdir=image.workdir,
        entrypoint=image.entrypoint,
        cmd=image.cmd,
        packages=image.packages,
    )
    rootfs = op.image_directory(image) / ROOTFS
    with op.staging(f"bundle {manifest.name}", "catalog") as pull:
        found = digest_file(rootfs, lambda done, total: pull.progress("checking", done=done, total=total))
        if found != image.digest:
            raise ImageError(
                f"the file of '{image.name}' is not what it was", hint=f"banger image show {image.name}"
            )
        return _publish(pull, place, "images", manifest, {ROOTFS: rootfs})


def bundle_kernel(op: OperationContext, params: KernelBundleParams) -> Bundled:
    """Make a bundle of a kernel in the store."""
    place = _check_target(params)
    kernel: Kernel = op.store.kernel(params.kernel)
    directory = op.kernel_directory(kernel)
    manifest = KernelManifest(
        name=params.name or kernel.name,
        distro=params.distro or kernel.distro,
        arch=kernel.arch,
        description=params.description,
        release=kernel.release,
    )
    members = {name: directory / name for name in (VMLINUZ, MODULES, INITRD) if (directory / name).is_file()}
    with op.staging(f"bundle {manifest.name}", "catalog") as pull:
        return _publish(pull, place, "kernels", manifest, members, release=kernel.release)


def _image_manifest(**members: Any) -> ImageManifest:
    from pydantic import ValidationError

    try:
        return ImageManifest(**members)
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(str(part) for part in first["loc"])
        raise ImageError(f"the image's {what} cannot be published: {first['msg']}") from error


def _read_distro(pull: PullContext, rootfs: Path) -> str:
    """Return the distribution that a root file system says it is; empty where it does not."""
    for path in ("/usr/lib/os-release", "/etc/os-release"):
        with contextlib.suppress(HostError):
            found = re.search(
                rb'^ID="?([a-z0-9._-]{1,64})"?$', pull.disks.read_file(rootfs, path), re.MULTILINE
            )
            return found[1].decode() if found else ""
    return ""


class Place:
    """Where a bundle goes: a directory, a catalog to write it into, the address that others fetch it from.

    :raises UsageError: one of them is not what it should be.
    """

    def __init__(self, directory: Path, catalog: Path | None, url: str | None) -> None:
        self.directory, self.catalog, self._url = directory, catalog, url
        if catalog is not None and url is None:
            self.find_url("name")

    def find_url(self, name: str) -> str:
        """Return what a catalog's entry says: an address, or where the file is as seen from the catalog."""
        if self._url is not None:
            return f"{self._url.rstrip('/')}/{quote(name)}"
        base = (self.catalog or self.directory / "catalog.json").parent
        relative = os.path.relpath(self.directory / name, base)
        if relative.startswith(".."):
            raise UsageError(
                f"{self.directory} is not below {base}, where the catalog is",
                hint="--url says where the bundle will be, or --out a directory beside the catalog",
            )
        return quote(relative)


def _check_target(params: Target) -> Place:
    directory, catalog = Path(params.out), Path(params.catalog) if params.catalog is not None else None
    for path, what in ((directory, "--out"), (catalog, "--catalog")):
        if path is not None and (not path.is_absolute() or "\0" in str(path)):
            raise UsageError(f"{what} {str(path)[:200]!r} is not an absolute path", hint=f"{what} /PATH")
    if not directory.is_dir():
        raise UsageError(f"there is no directory {directory}", hint=f"mkdir -p {directory}")
    if catalog is not None and not catalog.parent.is_dir():
        raise UsageError(f"there is no directory {catalog.parent}", hint=f"mkdir -p {catalog.parent}")
    if catalog is not None and catalog.is_dir():
        raise UsageError(f"{catalog} is a directory", hint=f"--catalog {catalog}/catalog.json")
    if params.url is not None:
        try:
            host = re.fullmatch(r"https?://([^/?#]+)[^?#]*", params.url)
            check_place(params.url, (host[1],) if host else ())
            if host is None:
                raise ValueError(f"{params.url} has a query in it")
        except ValueError as error:
            raise UsageError(f"--url {error}", hint="--url https://images.example.com/") from error
    if catalog is not None and catalog.exists():
        _read_catalog(catalog)  # what cannot be updated is said before anything is made
    return Place(directory, catalog, params.url)


def _publish(
    pull: PullContext,
    place: Place,
    kind: str,
    manifest: ImageManifest | KernelManifest,
    members: Mapping[str, Path],
    **also: str,
) -> Bundled:
    """Write the bundle under the name of its content, then its entry."""
    from banger_images_catalog.operations import Bundled

    def report(done: int, total: int) -> None:
        pull.progress("writing", done=done, total=total)

    with _new_file(place.directory) as (file, keep):
        write_bundle(file, manifest, members, report)
        size = file.seek(0, os.SEEK_END)
        digest = digest_file(Path(f"/proc/self/fd/{file.fileno()}")).removeprefix("sha256:")
        path = place.directory / f"{manifest.name}-{manifest.arch}-{digest[:_DIGITS]}.tar.zst"
        keep(path)
    entry = {
        key: value
        for key, value in {
            "name": manifest.name,
            "distro": manifest.distro,
            "arch": manifest.arch,
            "kernel_ref": getattr(manifest, "kernel_ref", None),
            **also,
            "url": place.find_url(path.name) if place.catalog else None,
            "sha256": digest,
            "size": size,
            "description": manifest.description,
        }.items()
        if value not in (None, "")
    }
    if place.catalog is not None:
        _write_entry(place.catalog, kind, entry)
    return Bundled(
        name=manifest.name,
        path=str(path),
        sha256=digest,
        size=size,
        catalog=str(place.catalog) if place.catalog else None,
        entry=entry,
    )


def _write_entry(catalog: Path, kind: str, entry: dict[str, Any]) -> None:
    """Put an entry into a catalog, over one of the same name and architecture; nobody sees half a catalog."""
    directory = os.open(catalog.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)  # others that write into it wait; a catalog takes no time
        empty: dict[str, Any] = {"version": 1, "images": [], "kernels": []}
        value = _read_catalog(catalog) if catalog.exists() else empty
        there = [
            other
            for other in value.get(kind, [])
            if (other.get("name"), other.get("arch", "")) != (entry["name"], entry.get("arch", ""))
        ]
        value[kind] = [*there, entry]
        data = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
        parse_document(data, str(catalog))
        with _new_file(catalog.parent) as (file, keep):
            file.write(data)
            keep(catalog)
    finally:
        os.close(directory)


def _read_catalog(catalog: Path) -> dict[str, Any]:
    """Return a catalog as it is written, with what only others know of; ImageError when it is none."""
    try:
        with open(catalog, "rb") as file:
            data = file.read(DOCUMENT_LIMIT + 1)
    except OSError as error:
        raise HostError(f"{catalog} cannot be read: {error.strerror}", hint=f"ls -l {catalog}") from error
    parse_document(data, str(catalog))
    return parse_json(data, str(catalog))


Keep = Callable[[Path], None]


@contextlib.contextmanager
def _new_file(directory: Path) -> Iterator[tuple[IO[bytes], Keep]]:
    """Give a file without a name in a directory, and a function that gives it one, which everybody may read."""
    try:
        with tempfile.NamedTemporaryFile(
            dir=directory, prefix=".banger-", suffix=".part", delete=False
        ) as file:
            kept = False

            def keep(path: Path) -> None:
                nonlocal kept
                if path.is_dir():
                    raise ConflictError(f"{path} is a directory", hint=f"rmdir {path}")
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
                os.replace(file.name, path)
                kept = True

            try:
                yield file, keep
            finally:
                if not kept:
                    Path(file.name).unlink(missing_ok=True)
    except OSError as error:
        raise HostError(
            f"{directory} cannot be written to: {error.strerror}", hint=f"df {directory}"
        ) from error
