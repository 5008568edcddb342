"""Export and import: an image, with what it needs to boot, as one file."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

from banger.api import (
    MANIFEST_LIMIT,
    ArchiveReader,
    ArchiveWriter,
    BangerError,
    ConflictError,
    HostError,
    ImageError,
    PulledImage,
    PulledKernel,
    UsageError,
    digest_file,
    inspect_kernel,
)
from banger_local.file import new_file
from banger_local.manifest import (
    INITRD,
    MODULES,
    ROOTFS,
    SEED,
    VMLINUZ,
    Manifest,
    Member,
    describe_image,
    describe_kernel,
    parse_manifest,
)
from banger_local.operations import ExportResult
from banger_local.register import check_file
from banger_local.seed import find_seed

if TYPE_CHECKING:
    from banger.api import Image, Kernel, OperationContext, PullContext
    from banger_local.operations import ExportParams

_MANIFEST = "manifest.json"


def export(op: OperationContext, image: Image, params: ExportParams) -> ExportResult:
    """Write an archive; the file is there when it is whole, and not before."""
    path = _check_target(params.path, force=params.force)
    kernel = op.store.find_kernel(image.kernel_ref) if image.kernel_ref and params.kernel else None
    with op.staging(f"image {image.name}", "local") as pull:
        directory = op.image_directory(image)
        files = {ROOTFS: directory / "rootfs.ext4", SEED: find_seed(pull, directory)}
        if kernel is not None:
            base = op.kernel_directory(kernel)
            files |= {VMLINUZ: base / VMLINUZ, MODULES: base / MODULES, INITRD: base / INITRD}
        there = {name: file for name, file in files.items() if file is not None and file.is_file()}
        members = tuple(_describe(pull, name, file) for name, file in there.items())
        if members[0].sha256 != image.digest.removeprefix("sha256:"):
            raise ImageError(
                f"the files of '{image.name}' are not what they were", hint=f"banger image show {image.name}"
            )
        manifest = Manifest(
            image=describe_image(image),
            kernel=describe_kernel(kernel) if kernel is not None else None,
            members=members,
        )
        with new_file(path, force=params.force) as file:
            _write(pull, file, manifest, there)
            size = file.seek(0, os.SEEK_END)
            digest = digest_file(Path(f"/proc/self/fd/{file.fileno()}"))
    return ExportResult(
        image=image, path=str(path), size=size, digest=digest, kernel=kernel.name if kernel else None
    )


def _check_target(text: str, *, force: bool) -> Path:
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise UsageError(f"{text[:200]!r} is not an absolute path", hint="banger image export NAME FILE")
    if not path.parent.is_dir():
        raise UsageError(f"there is no directory {path.parent}", hint=f"mkdir -p {path.parent}")
    if path.is_dir():
        raise UsageError(f"{path} is a directory", hint=f"banger image export NAME {path}/FILE")
    if path.exists() and not force:
        raise ConflictError(f"{path} exists", hint="--force writes over it")
    return path


def _describe(pull: PullContext, name: str, file: Path) -> Member:
    digest = digest_file(file, lambda done, total: pull.progress("reading", name, done=done, total=total))
    return Member.model_validate(
        {"name": name, "size": file.stat().st_size, "sha256": digest.removeprefix("sha256:")}
    )


def _write(pull: PullContext, file: IO[bytes], manifest: Manifest, files: dict[str, Path]) -> None:
    total, done = sum(member.size for member in manifest.members), 0
    writer = ArchiveWriter(file)
    text = manifest.model_dump_json(indent=1).encode()
    writer.add(_MANIFEST, io.BytesIO(text), len(text))

    def report(count: int) -> None:
        nonlocal done
        done += count
        pull.progress("writing", done=done, total=total)

    for member in manifest.members:
        with open(files[member.name], "rb") as content:
            writer.add(member.name, content, member.size, report)
    writer.close()


def import_archive(op: OperationContext, text: str, name: str | None) -> tuple[Image, Kernel | None]:
    """Read an archive into the store: everything is checked before anything is there, the kernel first."""
    path = check_file(text, "FILE")
    if name is not None:
        op.store.check_free(name, "image")
    with op.staging(f"image {name or path.name[:80]}", "local") as pull:
        manifest = _unpack(pull, path)
        image_name = op.store.check_free(name or manifest.image.name, "image")
        if manifest.image.arch != pull.arch:
            raise ImageError(f"the image is for {manifest.image.arch}, this machine is {pull.arch}")
        _check_content(pull, manifest)
        kernel, is_new = _place_kernel(op, pull, manifest)
        try:
            image = op.publish_image(
                pull, image_name, f"import:{path.name}", _pulled(op, pull, manifest, kernel)
            )
        except BaseException:
            if kernel is not None and is_new:
                with contextlib.suppress(BangerError):
                    op.store.delete_kernel(kernel)
            raise
        return image, kernel


def _unpack(pull: PullContext, path: Path) -> Manifest:
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            reader = ArchiveReader(file)
            manifest = parse_manifest(reader.read(_MANIFEST, MANIFEST_LIMIT))
            for member in manifest.members:
                found = reader.extract(
                    member.name,
                    member.size,
                    pull.staging / member.name,
                    lambda _: pull.progress("reading", done=file.tell(), total=size),
                )
                if found != member.sha256:
                    raise ImageError(
                        f"{member.name} is not what the archive says it is", hint="copy the archive again"
                    )
            reader.end()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise HostError(
            f"{path} cannot be read into the store: {error.strerror}",
            hint="free some space" if full else f"ls -l {path}",
        ) from error
    return manifest


def _check_content(pull: PullContext, manifest: Manifest) -> None:
    """Refuse members that are not what they are called."""
    for name in (ROOTFS, SEED, MODULES):
        if (pull.staging / name).is_file():
            try:
                pull.disks.read_uuid(pull.staging / name)
            except HostError as error:
                raise ImageError(f"the archive's {name} is not an ext4 file system") from error
    if manifest.kernel is not None:
        found = inspect_kernel(pull.staging / VMLINUZ)
        if (found.release, found.arch) != (manifest.kernel.release, pull.arch):
            raise ImageError(
                f"the archive's kernel is {found.release} for {found.arch}, not what its manifest says"
            )


def _place_kernel(op: OperationContext, pull: PullContext, manifest: Manifest) -> tuple[Kernel | None, bool]:
    """Return the kernel of an archive, and whether it was put into the store for it.

    One that is here with the digest that the archive names is taken as it is: that digest was made here.
    """
    if manifest.kernel is None:
        return None, False
    here = op.store.find_kernel(manifest.kernel.digest)
    if here is not None:
        return here, False
    with op.staging(f"kernel {manifest.kernel.name}", "local") as own:
        moved = {name: own.staging / name for name in (VMLINUZ, MODULES, INITRD)}
        for name, target in moved.items():
            if (pull.staging / name).is_file():
                (pull.staging / name).rename(target)
        pulled = PulledKernel(
            moved[VMLINUZ],
            manifest.kernel.release,
            manifest.kernel.distro,
            moved[MODULES] if moved[MODULES].is_file() else None,
            moved[INITRD] if moved[INITRD].is_file() else None,
        )
        name = _free_kernel_name(op, manifest.kernel.name)
        try:
            return op.publish_kernel(own, name, f"import:{manifest.image.name}", pulled), True
        except ConflictError as error:
            same = getattr(error, "name", None)
            if same is None:
                raise
            return op.store.kernel(same), False


def _free_kernel_name(op: OperationContext, name: str) -> str:
    """Return a name for a kernel that came with an image: its own, or with a number where that is taken."""
    taken = {kernel.name for kernel in op.services.database.kernels()}
    candidates = (name, *(f"{name[:120]}-{number}" for number in range(2, 1000)))
    return next(candidate for candidate in candidates if candidate not in taken)


def _pulled(
    op: OperationContext, pull: PullContext, manifest: Manifest, kernel: Kernel | None
) -> PulledImage:
    said = manifest.image
    seed = pull.staging / SEED
    return PulledImage(
        pull.staging / ROOTFS,
        said.distro,
        kernel_ref=op.store.kernel_reference(kernel) if kernel is not None else said.kernel_ref,
        work_seed=seed if seed.is_file() else None,
        env=said.env,
        user=said.user,
        workdir=said.workdir,
        entrypoint=said.entrypoint,
        cmd=said.cmd,
        packages=said.packages,
    )
