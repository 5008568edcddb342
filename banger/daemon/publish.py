"""Putting images and kernels into the store: staged, checked, named by digest, published with one rename."""

from __future__ import annotations

import hashlib
import os
import platform
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from banger.config.paths import make_private
from banger.daemon.context import OperationContext
from banger.errors import ConflictError, ImageError, KernelError
from banger.host.disk import allocated_bytes, digest_file
from banger.host.folder import remove_tree
from banger.model.image import Image, Kernel
from banger.model.source import PulledImage, PulledKernel

if TYPE_CHECKING:
    from pydantic import BaseModel

    from banger.host.command import Commands
    from banger.host.disk import Disks


class StagedPull:
    """A pull under way: :class:`banger.model.source.PullContext` for sources."""

    def __init__(self, op: OperationContext, staging: Path, cache: Path, prefix: str) -> None:
        self.staging = staging
        self.cache = cache
        self.commands: Commands = op.services.commands
        self.disks: Disks = op.services.disks
        self.arch = platform.machine()
        self._op = op
        self._prefix = prefix

    def settings(self, plugin: str) -> BaseModel:
        return self._op.services.plugin_settings.get(plugin)

    def progress(
        self, stage: str, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        self._op.progress(f"{self._prefix}: {stage}", detail, done=done, total=total)

    def notice(self, text: str) -> None:
        self._op.event("notice", text=f"{self._prefix}: {text}")


class SameContentError(ConflictError):
    """What was pulled is in the store under another name.

    :param name: what it is called there.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the same content is in the store as '{name}'", hint=f"use it by that name: {name}")
        self.name = name


@contextmanager
def staged(op: OperationContext, prefix: str, scheme: str) -> Iterator[StagedPull]:
    """Give a staging directory that is gone afterwards, whatever happened.

    :param prefix: what the stages shown to people begin with; :param scheme: whose cache it is.
    """
    paths = op.services.paths
    staging = make_private(make_private(paths.staging) / uuid.uuid4().hex)
    try:
        cache = paths.cache / "sources" / scheme
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield StagedPull(op, staging, cache, prefix)
    finally:
        remove_tree(staging)


def publish_image(
    op: OperationContext, pull: StagedPull, name: str, source: str, pulled: PulledImage
) -> Image:
    """Check what was left in staging, name it by its digest and put it into the store.

    :raises ConflictError: the name is taken, or the content is there under another.
    """
    if not pulled.in_place:
        _check_inside(pull.staging, pulled.rootfs, ImageError)
    before = pulled.rootfs.stat()
    digest = digest_file(pulled.rootfs, lambda done, total: pull.progress("checking", done=done, total=total))
    image = Image(
        name=name,
        digest=digest,
        distro=pulled.distro,
        arch=pull.arch,
        source=source,
        managed=not pulled.in_place,
        path=str(pulled.rootfs) if pulled.in_place else "",
        mtime_ns=before.st_mtime_ns if pulled.in_place else 0,
        kernel_ref=pulled.kernel_ref,
        root_uuid=pull.disks.read_uuid(pulled.rootfs),
        allocated_bytes=allocated_bytes(pulled.rootfs),
        size_bytes=before.st_size,
        env=dict(pulled.env),
        user=pulled.user,
        workdir=pulled.workdir,
        entrypoint=pulled.entrypoint,
        cmd=pulled.cmd,
        packages=pulled.packages,
        created_at=datetime.now(UTC),
    )
    target = make_private(pull.staging / "publish")
    rootfs = target / "rootfs.ext4"
    if pulled.in_place:
        rootfs.symlink_to(pulled.rootfs)
    else:
        pulled.rootfs.rename(rootfs)
        rootfs.chmod(0o400)
    if pulled.work_seed is not None:
        pulled.work_seed.rename(target / ("work-seed" if pulled.work_seed.is_dir() else "work-seed.ext4"))
    _publish(op, target, content_dir(op.services.paths.images, digest), image)
    return image


def publish_kernel(
    op: OperationContext,
    pull: StagedPull,
    name: str,
    source: str,
    pulled: PulledKernel,
    make_room: Callable[[Kernel], None] | None = None,
) -> Kernel:
    """As :func:`publish_image`, for a kernel.

    :param make_room: called with the finished record and the store locked, before it is looked whether name and content
        are free.
    """
    _check_inside(pull.staging, pulled.vmlinuz, KernelError)
    target = make_private(pull.staging / "publish")
    digest = _kernel_digest(pulled)
    modules_uuid = _place_modules(pull, pulled.modules, target / "modules.ext4")
    pulled.vmlinuz.rename(target / "vmlinuz")
    if pulled.initrd is not None:
        pulled.initrd.rename(target / "initrd.img")
    kernel = Kernel(
        name=name,
        digest=digest,
        release=pulled.release,
        distro=pulled.distro,
        arch=pull.arch,
        source=source,
        vmlinuz_sha256=digest_file(target / "vmlinuz").removeprefix("sha256:"),
        modules_uuid=modules_uuid,
        initrd=pulled.initrd is not None,
        allocated_bytes=sum(allocated_bytes(file) for file in target.iterdir()),
        created_at=datetime.now(UTC),
    )
    _publish(op, target, content_dir(op.services.paths.kernels, digest), kernel, make_room)
    return kernel


def _place_modules(pull: StagedPull, modules: Path | None, disk: Path) -> str | None:
    """Make the modules disk, or move the one that came; its UUID."""
    if modules is None:
        return None
    if modules.is_dir():
        pull.progress("modules", "making the modules disk")
        number = str(uuid.uuid4())
        pull.disks.make_ext4(disk, _tree_mib(modules), uuid=number, label="banger-modules", content=modules)
    else:
        modules.rename(disk)
        number = pull.disks.read_uuid(disk)
    disk.chmod(0o400)
    return number


def _publish(
    op: OperationContext,
    target: Path,
    directory: Path,
    record: Image | Kernel,
    make_room: Callable[[Kernel], None] | None = None,
) -> None:
    """Rename into place, then insert the row; a directory without a row is an orphan that reconcile removes."""
    (target / "manifest.json").write_text(record.model_dump_json(indent=1))
    make_private(directory.parent)
    database = op.services.database
    sync_tree(target)
    with op.services.locks.hold("publish", cancelled=op.cancelled):
        if make_room is not None and isinstance(record, Kernel):
            make_room(record)
        known: list[Image | Kernel] = [*database.images(), *database.kernels()]
        for other in known:
            if other.digest == record.digest:
                raise SameContentError(other.name)
        if directory.exists():
            remove_tree(directory)
        target.rename(directory)
        sync_tree(directory.parent, files=False)
        try:
            if isinstance(record, Image):
                database.add_image(record)
            else:
                database.add_kernel(record)
        except BaseException:
            remove_tree(directory)
            raise


def content_dir(base: Path, digest: str) -> Path:
    """Return the directory of content with a digest."""
    return base / digest.removeprefix("sha256:")[:32]


def sync_tree(directory: Path, *, files: bool = True) -> None:
    """Write a directory of ours out, with all that is in it: not, as sync(2) would, what others wrote meanwhile.

    :param files: False for the names in the directory itself only.
    """
    names = [directory]
    if files:
        for parent, folders, inner in os.walk(directory):
            names += [Path(parent, name) for name in (*folders, *inner)]
    try:
        for name in names:
            if not name.is_symlink() and (name.is_dir() or name.is_file()):
                descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
    except PermissionError:  # ours, and of a mode that keeps even us out
        os.sync()


def _check_inside(staging: Path, path: Path, kind: type[ImageError | KernelError]) -> None:
    if not path.is_file() or path.is_symlink() or staging not in path.parents:
        raise kind(f"the source left no file at {path.name}", hint="this is a fault of the plugin: report it")


def _kernel_digest(pulled: PulledKernel) -> str:
    total = hashlib.sha256(pulled.vmlinuz.read_bytes())
    if pulled.modules is not None:
        files = [pulled.modules] if pulled.modules.is_file() else pulled.modules.rglob("*")
        base = pulled.modules.parent if pulled.modules.is_file() else pulled.modules
        for file in sorted(path for path in files if path.is_file() and not path.is_symlink()):
            total.update(str(file.relative_to(base)).encode() + b"\0")
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return f"sha256:{total.hexdigest()}"


def _tree_mib(tree: Path) -> int:
    """Return a size in MiB that holds a tree with ext4's own needs."""
    used = sum(-(-path.lstat().st_size // 4096) * 4096 + 512 for path in tree.rglob("*"))
    return used * 11 // 10 // (1024 * 1024) + 16
