"""Pulling images and kernels into the store: staged, checked, named by digest, published with one rename."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from banger.config.paths import make_private
from banger.daemon.context import OperationContext
from banger.errors import BangerError, ConflictError, ImageError, KernelError, NotFoundError, PluginError
from banger.host.disk import allocated_bytes, digest_file
from banger.model.image import Image, Kernel
from banger.model.name import check_ref_name, unknown_hint
from banger.model.size import format_bytes
from banger.model.source import ImageSource, KernelSource, PulledImage, PulledKernel
from banger.registry import Registry

if TYPE_CHECKING:
    from pydantic import BaseModel

    from banger.host.command import Commands
    from banger.host.disk import Disks

log = logging.getLogger(__name__)

#: The scheme of references that have a slash and no scheme, as people know them: ``docker.io/library/debian:bookworm``.
CONTAINERS = "oci"

S = TypeVar("S", ImageSource, KernelSource)
T = TypeVar("T", Image, Kernel)


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


class SameContentError(ConflictError):
    """What was pulled is in the store under another name.

    :param name: what it is called there.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the same content is in the store as '{name}'", hint=f"use it by that name: {name}")
        self.name = name


class Catalogue:
    """What is in the store, and how to get what is not."""

    def __init__(self, op: OperationContext) -> None:
        self._op = op
        self._services = op.services

    def find_image(self, reference: str) -> Image | None:
        """Return the stored image that a name, reference or digest means, if it is there."""
        return next(
            (
                image
                for image in self._services.database.images()
                if reference in (image.name, image.source, image.digest)
            ),
            None,
        )

    def find_kernel(self, reference: str) -> Kernel | None:
        """Return the stored kernel that a name, reference or digest means, if it is there."""
        return next(
            (
                kernel
                for kernel in self._services.database.kernels()
                if reference in (kernel.name, kernel.source, kernel.digest)
            ),
            None,
        )

    def ensure_image(self, reference: str) -> Image:
        """Return an image, pulling it first when it is not there; what is there under another name will do."""
        try:
            return self.find_image(reference) or self.pull_image(reference, None)
        except SameContentError as same:
            found = self.find_image(same.name)
            if found is None:
                raise
            self._op.event("notice", text=f"it is the same as {same.name}, which is here")
            return found

    def ensure_kernel(self, reference: str) -> Kernel:
        """Return a kernel, pulling it first when it is not there."""
        return self.find_kernel(reference) or self.pull_kernel(reference, None)

    def resolve_image(self, reference: str) -> None:
        """Raise unless the image is there or some source can get it."""
        if self.find_image(reference) is None:
            self._resolve_source(self._services.registries.image_sources, reference, "image")

    def resolve_kernel(self, reference: str) -> None:
        """Raise unless the kernel is there or some source can get it."""
        if self.find_kernel(reference) is None:
            self._resolve_source(self._services.registries.kernel_sources, reference, "kernel")

    def pull_image(self, reference: str, name: str | None) -> Image:
        """Get an image; ConflictError when its name is taken, before anything is fetched."""
        source, rest = self._resolve_source(self._services.registries.image_sources, reference, "image")
        name = check_ref_name(
            name or _default_name(self._services.registries.image_sources, source, rest), "an image"
        )
        with self._services.locks.hold("pull", f"image {name}", cancelled=self._op.cancelled):
            there = self.find_image(name)
            if there is not None:
                return _same(there, f"{source.scheme}:{rest}")
            with self._staged(f"image {name}", source.scheme) as pull:
                self._op.event(
                    "notice", text=f"there is no image {name} here yet; getting it, this happens once"
                )
                image = self._publish_image(pull, name, source, rest, source.pull(rest, pull))
                pull.progress(f"done, {format_bytes(image.allocated_bytes)}")
                return image

    def pull_kernel(self, reference: str, name: str | None) -> Kernel:
        """Get a kernel; ConflictError when its name is taken, before anything is fetched."""
        source, rest = self._resolve_source(self._services.registries.kernel_sources, reference, "kernel")
        name = check_ref_name(
            name or _default_name(self._services.registries.kernel_sources, source, rest), "a kernel"
        )
        with self._services.locks.hold("pull", f"kernel {name}", cancelled=self._op.cancelled):
            there = self.find_kernel(name)
            if there is not None:
                return _same(there, f"{source.scheme}:{rest}")
            with self._staged(f"kernel {name}", source.scheme) as pull:
                self._op.event(
                    "notice", text=f"there is no kernel {name} here yet; getting it, this happens once"
                )
                kernel = self._publish_kernel(pull, name, source, rest, source.pull(rest, pull))
                pull.progress(f"done, {format_bytes(kernel.allocated_bytes)}")
                return kernel

    def _staged(self, prefix: str, scheme: str) -> _Staging:
        paths = self._services.paths
        staging = make_private(paths.staging) / uuid.uuid4().hex
        return _Staging(StagedPull(self._op, staging, paths.cache / "sources" / scheme, prefix))

    def _resolve_source(self, sources: Registry[S], reference: str, what: str) -> tuple[S, str]:
        scheme, colon, rest = reference.partition(":")
        if "/" in reference and scheme not in sources and CONTAINERS in sources:
            scheme, colon, rest = CONTAINERS, ":", reference
        registry = f"docker.io/library/{reference[:80]}" if CONTAINERS in sources else ""
        if colon:
            if scheme not in sources and registry:
                raise NotFoundError(
                    f"there is no {sources.noun} '{scheme[:80]}'",
                    hint=f"{unknown_hint(scheme, sources, '')}; an image of Docker Hub is {registry}",
                )
            source = sources.resolve(scheme)
            _default_name(sources, source, rest)
            return source, rest
        table = known_names(sources)
        found = table.get(reference, [])
        if len({source.scheme for source, _ in found}) > 1:
            choices = [f"{source.scheme}:{known}" for source, known in found]
            raise ConflictError(
                f"{' and '.join(choices)} are both called '{reference[:80]}'",
                hint=f"say which: {' or '.join(choices)}",
            )
        if found:
            return found[0]
        stored = self._services.database.images() if what == "image" else self._services.database.kernels()
        names = {thing.name for thing in stored} | set(table)
        hint = unknown_hint(reference, names, f"see: banger {what} list")
        if registry and not hint.startswith("did you mean"):
            hint = f"{hint}; an image of Docker Hub is {registry}"
        raise NotFoundError(f"there is no {what} '{reference[:80]}'", hint=hint)

    def _publish_image(
        self, pull: StagedPull, name: str, source: ImageSource, rest: str, pulled: PulledImage
    ) -> Image:
        _check_inside(pull.staging, pulled.rootfs, ImageError)
        digest = digest_file(
            pulled.rootfs, lambda done, total: pull.progress("checking", done=done, total=total)
        )
        image = Image(
            name=name,
            digest=digest,
            distro=pulled.distro,
            arch=pull.arch,
            source=f"{source.scheme}:{rest}",
            kernel_ref=pulled.kernel_ref,
            root_uuid=pull.disks.read_uuid(pulled.rootfs),
            allocated_bytes=allocated_bytes(pulled.rootfs),
            size_bytes=pulled.rootfs.stat().st_size,
            env=dict(pulled.env),
            user=pulled.user,
            workdir=pulled.workdir,
            entrypoint=pulled.entrypoint,
            cmd=pulled.cmd,
            packages=pulled.packages,
            created_at=datetime.now(UTC),
        )
        directory = content_dir(self._services.paths.images, digest)
        target = make_private(pull.staging / "publish")
        pulled.rootfs.rename(target / "rootfs.ext4")
        if pulled.work_seed is not None:
            pulled.work_seed.rename(target / "work-seed")
        (target / "rootfs.ext4").chmod(0o400)
        self._publish(target, directory, image)
        return image

    def _publish_kernel(
        self, pull: StagedPull, name: str, source: KernelSource, rest: str, pulled: PulledKernel
    ) -> Kernel:
        _check_inside(pull.staging, pulled.vmlinuz, KernelError)
        target = make_private(pull.staging / "publish")
        digest = _kernel_digest(pulled)
        modules_uuid = None
        if pulled.modules is not None:
            pull.progress("modules", "making the modules disk")
            modules_uuid = str(uuid.uuid4())
            size = _tree_mib(pulled.modules)
            pull.disks.make_ext4(
                target / "modules.ext4",
                size,
                uuid=modules_uuid,
                label="banger-modules",
                content=pulled.modules,
            )
            (target / "modules.ext4").chmod(0o400)
        pulled.vmlinuz.rename(target / "vmlinuz")
        kernel = Kernel(
            name=name,
            digest=digest,
            release=pulled.release,
            distro=pulled.distro,
            arch=pull.arch,
            source=f"{source.scheme}:{rest}",
            modules_uuid=modules_uuid,
            allocated_bytes=sum(allocated_bytes(file) for file in target.iterdir()),
            created_at=datetime.now(UTC),
        )
        self._publish(target, content_dir(self._services.paths.kernels, digest), kernel)
        return kernel

    def _publish(self, target: Path, directory: Path, record: Image | Kernel) -> None:
        """Rename into place, then insert the row; a directory without a row is an orphan that reconcile removes."""
        (target / "manifest.json").write_text(record.model_dump_json(indent=1))
        make_private(directory.parent)
        database = self._services.database
        sync_tree(target)
        with self._services.locks.hold("publish", cancelled=self._op.cancelled):
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


def known_names(sources: Registry[S]) -> dict[str, list[tuple[S, str]]]:
    """Return what the sources suggest, by name: each with its source and reference, several where names clash.

    A source that fails is left out and logged: the others' names work without it.
    """
    table: dict[str, list[tuple[S, str]]] = {}
    for source in sources.values():
        try:
            names = [(_default_name(sources, source, known), known) for known in source.known]
        except BangerError as error:
            log.warning("%s '%s' is left out: %s", sources.noun, source.scheme, error)
            continue
        for name, known in names:
            table.setdefault(name, []).append((source, known))
    return table


def available_names(sources: Registry[S]) -> tuple[str, ...]:
    """Return what can be pulled as it is to be typed: by name, or by whole references where a name clashes."""
    names: list[str] = []
    for name, found in known_names(sources).items():
        clash = len({source.scheme for source, _ in found}) > 1
        names += [f"{source.scheme}:{known}" for source, known in found] if clash else [name]
    return tuple(sorted(names))


def _default_name(sources: Registry[S], source: S, reference: str) -> str:
    """Ask a source what a reference is called; whatever is wrong with its answer is the plugin's error."""
    try:
        name = source.default_name(reference)
    except BangerError:
        raise
    except Exception as error:
        raise _broken(sources, source, f"{type(error).__name__}: {error}") from error
    if not isinstance(name, str):
        raise _broken(sources, source, f"default_name returned {type(name).__name__}, not a name")
    return name


def _broken(sources: Registry[S], source: S, reason: str) -> PluginError:
    plugin = sources.owner(source.scheme)
    return PluginError(
        f"{sources.noun} '{source.scheme}' of plugin '{plugin}' failed: {reason}",
        hint=f"report it to plugin {plugin}",
        plugin=plugin,
    )


class _Staging:
    """A staging directory that is gone afterwards, whatever happened."""

    def __init__(self, pull: StagedPull) -> None:
        self._pull = pull

    def __enter__(self) -> StagedPull:
        make_private(self._pull.staging)
        self._pull.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._pull

    def __exit__(self, *_: object) -> None:
        remove_tree(self._pull.staging)


def _same(there: T, source: str) -> T:
    if there.source != source:
        raise ConflictError(
            f"'{there.name}' exists and comes from {there.source}", hint="choose another name with --name"
        )
    return there


def content_dir(base: Path, digest: str) -> Path:
    """Return the directory of content with a digest."""
    return base / digest.removeprefix("sha256:")[:32]


def remove_tree(directory: Path) -> None:
    """Remove a directory of ours and all in it; nothing happens when it is not there."""

    def failed(function: object, path: str, error: BaseException) -> None:
        if not isinstance(error, FileNotFoundError):
            log.error("%s could not be removed: %s", path, error)

    for path, folders, _ in os.walk(directory):
        for folder in folders:
            inner = os.path.join(path, folder)
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(directory, onerror=lambda f, p, info: failed(f, p, info[1]))


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
        for file in sorted(path for path in pulled.modules.rglob("*") if path.is_file()):
            total.update(str(file.relative_to(pulled.modules)).encode() + b"\0")
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return f"sha256:{total.hexdigest()}"


def _tree_mib(tree: Path) -> int:
    """Return a size in MiB that holds a tree with ext4's own needs."""
    used = sum(-(-path.lstat().st_size // 4096) * 4096 + 512 for path in tree.rglob("*"))
    return used * 11 // 10 // (1024 * 1024) + 16
