"""What is in the store, and pulling what is not: by name, by scheme, or by digest."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

from banger.daemon.context import OperationContext
from banger.daemon.offers import Target, resolve_source
from banger.daemon.publish import (
    SameContentError,
    StagedPull,
    content_dir,
    publish_image,
    publish_kernel,
    staged,
)
from banger.errors import BangerError, ConflictError, ImageError, NotFoundError, StoreError
from banger.host.folder import remove_tree
from banger.model.image import Image, Kernel
from banger.model.name import check_ref_name, unknown_hint
from banger.model.size import format_bytes, format_mib
from banger.model.source import ImageSource, KernelSource, PulledImage, PulledKernel

#: The scheme of kernels that are files of this machine: the kernel's path, an initrd's and the modules', in lines.
FILES = "files"

T = TypeVar("T", Image, Kernel)


@dataclasses.dataclass(frozen=True, slots=True)
class ImageWish:
    """How a pulled image is to be: its name; its kernel, by reference or as files; its disk's least size, MiB.

    :param kernel_files: what the kernel source ``files`` takes.
    """

    name: str | None = None
    kernel_ref: str | None = None
    kernel_files: str | None = None
    size_mib: int | None = None

    @property
    def changes(self) -> bool:
        """Whether the image becomes another than the source's."""
        return any((self.kernel_ref, self.kernel_files, self.size_mib))


class Catalogue:
    """What is in the store, and how to get what is not."""

    def __init__(self, op: OperationContext) -> None:
        self._op = op
        self._services = op.services

    def find_image(self, reference: str) -> Image | None:
        """Return the stored image that a name, reference or digest means, if it is there.

        :raises StoreError: it is there, and its record cannot be read.
        """
        return self._find(self._services.database.images(), reference, "image")

    def find_kernel(self, reference: str) -> Kernel | None:
        """Return the stored kernel that a name, reference or digest means, if it is there; errors as above."""
        return self._find(self._services.database.kernels(), reference, "kernel")

    def _find(self, things: list[T], reference: str, what: Literal["image", "kernel"]) -> T | None:
        if self._services.database.damaged(f"{what}s", reference):
            raise StoreError(
                f"the record of the {what} '{reference}' is damaged, or a newer banger wrote it",
                hint="the daemon's log says what is wrong with it: banger daemon status",
            )
        # What is called by the reference comes first: a name may be what another was pulled from.
        named = (thing for thing in things if thing.name == reference)
        return next(named, None) or next(
            (thing for thing in things if reference in (thing.source, thing.digest)), None
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
                self._resolve_kernel(image.kernel_ref)
            except BangerError:
                raise ConflictError(
                    f"the image '{image.name}' boots with the kernel '{kernel.name}' only",
                    hint=f"banger image delete {image.name}",
                ) from None

    def ensure_image(self, reference: str) -> Image:
        """Return an image, pulling it first when it is not there; what is there under another name will do."""
        try:
            return self.find_image(reference) or self.pull_image(reference, ImageWish())
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
            self._resolve_image(reference)

    def resolve_kernel(self, reference: str) -> None:
        """Raise unless the kernel is there or some source can get it."""
        if self.find_kernel(reference) is None:
            self._resolve_kernel(reference)

    def pull_image(self, reference: str, wish: ImageWish) -> Image:
        """Get an image; what is wrong with its name or its kernel is said before anything is fetched.

        :raises ConflictError: the name is taken.
        """
        self.find_image(wish.name or reference)  # one whose record cannot be read is not to be got again
        target = self._resolve_image(reference)
        name = check_ref_name(wish.name or target.name, "an image")
        if wish.kernel_ref is not None:
            self.resolve_kernel(wish.kernel_ref)
        with self._services.locks.hold("pull", f"image {name}", cancelled=self._op.cancelled):
            there = self.find_image(name)
            if there is not None:
                return _same(there, target.reference, asked=wish.changes)
            with (
                self._kernel_of(wish, name) as kernel_ref,
                staged(self._op, f"image {name}", target.source.scheme) as pull,
            ):
                self._op.event(
                    "notice", text=f"there is no image {name} here yet; getting it, this happens once"
                )
                pulled = target.source.pull(target.rest, pull)
                pulled = _adapt(pull, pulled, target, kernel_ref, wish.size_mib)
                image = publish_image(self._op, pull, name, target.reference, pulled)
                pull.progress(f"done, {format_bytes(image.allocated_bytes)}")
                return image

    @contextmanager
    def _kernel_of(self, wish: ImageWish, name: str) -> Iterator[str | None]:
        """Give the reference of the kernel that was wished for; one given as files goes again when the block fails."""
        if wish.kernel_files is None:
            yield wish.kernel_ref
            return
        self.check_free(name, "kernel")
        source = self._services.registries.kernel_sources.resolve(FILES)
        with staged(self._op, f"kernel {name}", FILES) as pull:
            pulled = source.pull(wish.kernel_files, pull)
            where = wish.kernel_files.partition("\n")[0]
            kernel = publish_kernel(self._op, pull, name, f"{FILES}:{where}", pulled)
        try:
            yield kernel.digest
        except BaseException:
            self.delete_kernel(kernel)
            raise

    def pull_kernel(self, reference: str, name: str | None, *, force: bool = False) -> Kernel:
        """Get a kernel; ConflictError when its name is taken, before anything is fetched.

        :param force: get it again though it is here. What comes takes the name; what VMs are pinned to stays, under
            another.
        """
        self.find_kernel(name or reference)
        target = self._resolve_kernel(reference)
        name = check_ref_name(name or target.name, "a kernel")
        with self._services.locks.hold("pull", f"kernel {name}", cancelled=self._op.cancelled):
            there = self.find_kernel(name)
            if there is not None and (_same(there, target.reference) and not force):
                return there
            with staged(self._op, f"kernel {name}", target.source.scheme) as pull:
                if there is None:
                    text = f"there is no kernel {name} here yet; getting it, this happens once"
                    self._op.event("notice", text=text)
                pulled = target.source.pull(target.rest, pull)
                kernel = self._publish_pulled(pull, name, target.reference, pulled)
                pull.progress(f"done, {format_bytes(kernel.allocated_bytes)}")
                return kernel

    def _resolve_image(self, reference: str) -> Target[ImageSource]:
        return resolve_source(self._op, self._services.registries.image_sources, reference, "image")

    def _resolve_kernel(self, reference: str) -> Target[KernelSource]:
        return resolve_source(self._op, self._services.registries.kernel_sources, reference, "kernel")

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


def _same(there: T, source: str, *, asked: bool = False) -> T:
    """Return what is there if it is what was asked for; ConflictError else.

    :param asked: whether something was asked for that it does not have, maybe.
    """
    if there.source != source:
        raise ConflictError(
            f"'{there.name}' exists and comes from {there.source}", hint="choose another name with --name"
        )
    if asked:
        raise ConflictError(
            f"'{there.name}' is here already, with its kernel and size",
            hint=f"choose another name with --name, or: banger image delete {there.name}",
        )
    return there


def _adapt(
    pull: StagedPull,
    pulled: PulledImage,
    target: Target[ImageSource],
    kernel_ref: str | None,
    size_mib: int | None,
) -> PulledImage:
    """Return a pulled image with the kernel and size that were asked for, or that the offer says."""
    if kernel_ref is None and target.offer is not None:
        kernel_ref = target.offer.kernel_ref
    if size_mib is not None:
        now = math.ceil(pulled.rootfs.stat().st_size / (1 << 20))
        if now > size_mib:
            raise ImageError(
                f"the image is {format_mib(now)} large, which --size {format_mib(size_mib)} is too little for",
                hint=f"--size {format_mib(now)}, or more",
            )
        pull.disks.grow(pulled.rootfs, "raw", size_mib)
    return dataclasses.replace(pulled, kernel_ref=kernel_ref or pulled.kernel_ref)
