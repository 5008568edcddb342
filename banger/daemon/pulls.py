"""What is in the store, and pulling what is not: by name, by scheme, or by digest."""

from __future__ import annotations

import logging
from typing import Literal, TypeVar

from banger.daemon.context import OperationContext
from banger.daemon.publish import (
    SameContentError,
    StagedPull,
    content_dir,
    publish_image,
    publish_kernel,
    remove_tree,
    staged,
)
from banger.errors import BangerError, ConflictError, NotFoundError, PluginError
from banger.model.image import Image, Kernel
from banger.model.name import check_ref_name, unknown_hint
from banger.model.size import format_bytes
from banger.model.source import ImageSource, KernelSource, PulledKernel
from banger.registry import Registry

log = logging.getLogger(__name__)

#: The scheme of references that have a slash and no scheme, as people know them: ``docker.io/library/debian:bookworm``.
CONTAINERS = "oci"

S = TypeVar("S", ImageSource, KernelSource)
T = TypeVar("T", Image, Kernel)


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

    def image(self, reference: str) -> Image:
        """Return a stored image; NotFoundError when it is not here."""
        image = self.find_image(reference)
        if image is None:
            known = [image.name for image in self._services.database.images()]
            raise NotFoundError(
                f"there is no image '{reference[:80]}' here",
                hint=unknown_hint(reference, known, "get one: banger image pull NAME"),
            )
        return image

    def kernel(self, reference: str) -> Kernel:
        """Return a stored kernel; NotFoundError when it is not here."""
        kernel = self.find_kernel(reference)
        if kernel is None:
            known = [kernel.name for kernel in self._services.database.kernels()]
            raise NotFoundError(
                f"there is no kernel '{reference[:80]}' here",
                hint=unknown_hint(
                    reference, known, "get one: banger kernel pull NAME; see: banger kernel list"
                ),
            )
        return kernel

    def check_free(self, name: str, what: Literal["image", "kernel"]) -> str:
        """Return a name for a new image or kernel; UsageError when it is none, ConflictError when it is taken."""
        check_ref_name(name, "an image" if what == "image" else "a kernel")
        database = self._services.database
        things: list[Image | Kernel] = [*(database.images() if what == "image" else database.kernels())]
        if any(thing.name == name for thing in things):
            remove = f"banger image delete {name}" if what == "image" else f"banger kernel rm {name}"
            raise ConflictError(
                f"{'an image' if what == 'image' else 'a kernel'} called '{name}' exists",
                hint=f"choose another name, or: {remove}",
            )
        return name

    def kernel_reference(self, kernel: Kernel) -> str:
        """Return what an image says that boots with a kernel: where anybody gets it from, else its digest."""
        scheme = kernel.source.partition(":")[0]
        return kernel.source if scheme in self._services.registries.kernel_sources else kernel.digest

    def delete_image(self, image: Image) -> None:
        """Delete an image no VM is pinned to: first its row, which refuses with ConflictError, then its files."""
        with self._services.locks.hold("publish"):
            self._services.database.delete_image(image.digest)
            remove_tree(content_dir(self._services.paths.images, image.digest))

    def delete_kernel(self, kernel: Kernel) -> None:
        """Delete a kernel that no VM is pinned to and no image needs; ConflictError naming who does."""
        with self._services.locks.hold("publish"):
            self._check_needless(kernel)
            self._services.database.delete_kernel(kernel.digest)
            remove_tree(content_dir(self._services.paths.kernels, kernel.digest))

    def _check_needless(self, kernel: Kernel) -> None:
        """Raise ConflictError when an image names this kernel in a way that nobody could get it by again."""
        for image in self._services.database.images():
            if image.kernel_ref not in (kernel.name, kernel.source, kernel.digest):
                continue
            try:
                self._resolve_source(self._services.registries.kernel_sources, image.kernel_ref, "kernel")
            except BangerError:
                raise ConflictError(
                    f"the image '{image.name}' boots with the kernel '{kernel.name}' only",
                    hint=f"banger image delete {image.name}",
                ) from None

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
            with staged(self._op, f"image {name}", source.scheme) as pull:
                self._op.event(
                    "notice", text=f"there is no image {name} here yet; getting it, this happens once"
                )
                image = publish_image(
                    self._op, pull, name, f"{source.scheme}:{rest}", source.pull(rest, pull)
                )
                pull.progress(f"done, {format_bytes(image.allocated_bytes)}")
                return image

    def pull_kernel(self, reference: str, name: str | None, *, force: bool = False) -> Kernel:
        """Get a kernel; ConflictError when its name is taken, before anything is fetched.

        :param force: get it again though it is here. What comes takes the name; what VMs are pinned to stays, under
            another.
        """
        source, rest = self._resolve_source(self._services.registries.kernel_sources, reference, "kernel")
        name = check_ref_name(
            name or _default_name(self._services.registries.kernel_sources, source, rest), "a kernel"
        )
        with self._services.locks.hold("pull", f"kernel {name}", cancelled=self._op.cancelled):
            there = self.find_kernel(name)
            if there is not None and (_same(there, f"{source.scheme}:{rest}") and not force):
                return there
            with staged(self._op, f"kernel {name}", source.scheme) as pull:
                if there is None:
                    text = f"there is no kernel {name} here yet; getting it, this happens once"
                    self._op.event("notice", text=text)
                kernel = self._publish_pulled(pull, name, f"{source.scheme}:{rest}", source.pull(rest, pull))
                pull.progress(f"done, {format_bytes(kernel.allocated_bytes)}")
                return kernel

    def _publish_pulled(self, pull: StagedPull, name: str, source: str, pulled: PulledKernel) -> Kernel:
        """Publish a kernel that may have the name of another from the same source; the same content changes nothing."""
        known = {kernel.digest: kernel for kernel in self._services.database.kernels()}

        def give_way(kernel: Kernel) -> None:
            other = self.find_kernel(name)
            if other is not None and other.digest != kernel.digest and kernel.digest not in known:
                self._services.database.rename_kernel(other, f"{name[:100]}-{other.digest[7:19]}")

        try:
            kernel = publish_kernel(self._op, pull, name, source, pulled, give_way)
        except SameContentError as same:
            there = self.find_kernel(same.name)
            if there is None or there.name != name:
                raise
            self._op.event("notice", text=f"{name} is up to date")
            return there
        for other in known.values():
            if other.name == name:
                self._drop_unused(other)
        return kernel

    def _drop_unused(self, kernel: Kernel) -> None:
        """Delete a kernel that was replaced, unless something needs it."""
        renamed = self.find_kernel(kernel.digest)
        if renamed is None:
            return
        try:
            self.delete_kernel(renamed)
        except ConflictError as used:
            text = f"the old one is kept as {renamed.name}: {used.message}"
            self._op.event("notice", text=text)

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


def _same(there: T, source: str) -> T:
    if there.source != source:
        raise ConflictError(
            f"'{there.name}' exists and comes from {there.source}", hint="choose another name with --name"
        )
    return there
