"""Where images and kernels come from: values that plugins declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pydantic import BaseModel

    from banger.host.command import Commands
    from banger.host.disk import Disks


class PullContext(Protocol):
    """What a source gets to do its work: a staging directory, the host seams, progress, cancellation."""

    @property
    def staging(self) -> Path:
        """An empty private directory; whatever is left in it on failure is removed by the core."""

    @property
    def cache(self) -> Path:
        """A per-user cache directory of this source; contents may vanish between calls."""

    @property
    def commands(self) -> Commands:
        """The seam to the host's programs."""

    @property
    def disks(self) -> Disks:
        """The seam to disk images."""

    @property
    def arch(self) -> str:
        """``uname -m`` of the guest wanted."""

    def settings(self, plugin: str) -> BaseModel:
        """Return the frozen settings mounted at ``[plugins.<plugin>]``."""

    def progress(
        self, stage: str, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        """Report a stage by name; ``done`` and ``total`` are bytes. Raises CancelledError once cancelled."""

    def notice(self, text: str) -> None:
        """Tell the caller what is good to know though the pull goes on, in one line."""


class OfferContext(Protocol):
    """What a source gets to say what it has: its settings, its cache, and whether it may ask the network."""

    @property
    def cache(self) -> Path:
        """A per-user cache directory of this source; contents may vanish between calls."""

    @property
    def arch(self) -> str:
        """``uname -m`` of the guest wanted."""

    @property
    def ask(self) -> bool:
        """Whether somebody waits for an answer of now; else what was learned before is enough, and quick."""

    def settings(self, plugin: str) -> BaseModel:
        """Return the frozen settings mounted at ``[plugins.<plugin>]``."""

    def notice(self, text: str) -> None:
        """Tell the caller, such as that a place cannot be asked and what it said last is used."""

    def progress(
        self, stage: str, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        """Report a stage by name. Raises CancelledError once cancelled."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An image or kernel that can be had by a name.

    :param reference: where from, scheme included: this source's own, or another's of which it knows.
    :param kernel_ref: the kernel to boot an image with, instead of what its source says.
    :param size: bytes that are fetched; None where that is not known beforehand.
    """

    name: str
    reference: str
    distro: str = ""
    kernel_ref: str | None = None
    size: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class PulledImage:
    """What an image source leaves in the staging directory, and how the image wants to be run.

    ``rootfs`` is an ext4 file; ``work_seed`` what work disks begin as: a directory of regular files and directories, or
    an ext4 file. Both lie in the staging directory. ``packages`` are those it was made from, where it was.

    :param in_place: ``rootfs`` is a file of the user's, anywhere, and is linked to, not moved.
    """

    rootfs: Path
    distro: str
    kernel_ref: str | None = None
    work_seed: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class PulledKernel:
    """What a kernel source leaves in the staging directory.

    ``vmlinuz`` is a bzImage or ELF file; ``modules`` the directory that is ``/lib/modules/<release>``, with
    ``modules.dep`` and ``modules.builtin`` in it, or an ext4 file that holds it. ``initrd`` is kept, not booted.
    """

    vmlinuz: Path
    release: str
    distro: str
    modules: Path | None = None
    initrd: Path | None = None


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A way to get images, chosen by the scheme before the first ``:`` of a reference.

    :param scheme: as in ``debian:bookworm``.
    :param summary: one line for ``--help`` and the reference.
    :param default_name: reference (without scheme) to the name an image gets, e.g. ``debian-bookworm``.
        Raises UsageError or NotFoundError for a reference it cannot have.
    :param pull: reference (without scheme) and context to a :class:`PulledImage`; blocking, in a worker thread.
    :param known: the references worth suggesting and listing.
    :param offers: what there is by name, where that is not known when plugins are loaded. A name that is offered means
        the offer, whatever other sources know by it.
    """

    scheme: str
    summary: str
    default_name: Callable[[str], str]
    pull: Callable[[str, PullContext], PulledImage]
    known: tuple[str, ...] = ()
    offers: Callable[[OfferContext], tuple[Offer, ...]] | None = None

    @property
    def name(self) -> str:
        return self.scheme


@dataclass(frozen=True, slots=True)
class KernelSource:
    """A way to get kernels; as :class:`ImageSource`.

    :param size: bytes that a known reference takes in the store, about; None where that is not known beforehand.
    """

    scheme: str
    summary: str
    default_name: Callable[[str], str]
    pull: Callable[[str, PullContext], PulledKernel]
    known: tuple[str, ...] = ()
    size: Callable[[str], int | None] | None = None
    offers: Callable[[OfferContext], tuple[Offer, ...]] | None = None

    @property
    def name(self) -> str:
        return self.scheme
