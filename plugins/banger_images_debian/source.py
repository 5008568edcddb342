"""Pulling an image: check the host, build in a namespace, leave the root file system and the work seed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from banger.api import HostError, PulledImage
from banger_images_debian.recipes import LEAN, SUITES, Recipe, find_recipe

if TYPE_CHECKING:
    from banger.api import PullContext

#: ``uname -m`` to Debian's name.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

#: Seconds until a build is given up, on a slow machine with a slow line.
BUILD_TIMEOUT = 3600.0

#: What a lean image takes on the disk while it is made, bytes: 235 MB of it, the seed, the journal, and some air.
_LEAN_BYTES = 400 * 2**20

_HERE = Path(__file__).parent


def pull(reference: str, ctx: PullContext) -> PulledImage:
    """Build an image in ``ctx.staging``.

    :raises NotFoundError: an unknown recipe. :raises UsageError: what it adds is no package's name.
    :raises HostError: something on this machine is missing; the hint says what to do about it.
    :raises ImageError: the packages could not be fetched, verified or installed.
    """
    from banger_images_debian.seed import unpack_seed

    recipe = find_recipe(reference)
    ctx.progress("preparing", f"Debian {reference} is built from its own packages")
    architecture = check_host(ctx)
    check_space(recipe, ctx.staging)
    output = ctx.staging / "out"
    output.mkdir()
    build(reference, recipe, architecture, output, ctx)
    seed = ctx.staging / "work-seed"
    unpack_seed(output / "seed.tar", seed)
    rootfs = ctx.staging / "rootfs.ext4"
    (output / "rootfs.ext4").rename(rootfs)
    (output / "seed.tar").unlink()
    output.rmdir()
    return PulledImage(
        rootfs, "debian", kernel_ref=f"debian:{recipe.suite}", work_seed=seed, packages=recipe.packages
    )


def check_host(ctx: PullContext) -> str:
    """Return Debian's name for the guest's architecture, or raise HostError for what is missing here."""
    import platform

    for program in ("mmdebstrap", "mke2fs", "unshare"):
        ctx.commands.resolve(program)
    architecture = ARCHITECTURES.get(ctx.arch)
    if architecture is None or ctx.arch != platform.machine():
        hint = f"build it on a machine that is {ctx.arch}"
        raise HostError(f"cannot build a Debian image for {ctx.arch} on {platform.machine()}", hint=hint)
    return architecture


def check_space(recipe: Recipe, directory: Path) -> None:
    """Raise HostError where the finished image would not fit, before anything is fetched."""
    needed = _LEAN_BYTES * (1 if recipe.packages == LEAN else 3)
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise HostError(
            f"{free // 2**20} MiB are free at {directory.parent}, an image needs about {needed // 2**20} MiB",
            hint="free some, or move banger's state: XDG_STATE_HOME=/somewhere/else",
        )


def build(reference: str, recipe: Recipe, architecture: str, output: Path, ctx: PullContext) -> None:
    """Run the build script in its namespaces, following what it prints."""
    from banger_images_debian.failure import explain_failure
    from banger_images_debian.namespace import TMPFS_NEEDS, find_namespace, make_work_directory
    from banger_images_debian.transcript import Transcript

    namespace = find_namespace(ctx.commands)
    needs = TMPFS_NEEDS if recipe.packages == LEAN else 3 * TMPFS_NEEDS
    with make_work_directory(namespace, ctx, needs) as (work, kind):
        line = (*namespace.prefix, *_script(recipe, architecture, work, kind, output))
        options = (*SUITES[recipe.suite], *proxy_options(ctx))
        with tempfile.TemporaryFile(dir=output) as log:
            transcript = Transcript(log, ctx.progress)
            # TMPDIR and HOME reach package scripts inside the new root, where the caller's do not exist.
            done = ctx.commands.run(
                (*line, *options),
                timeout=BUILD_TIMEOUT,
                stdout=log,
                env={"TMPDIR": "/tmp", "HOME": "/root"},
                cwd=Path("/"),
                check=False,
                cancelled=transcript.follow,
            )
            transcript.follow()
        if done.status != 0:
            printed = done.stderr.decode(errors="replace").splitlines()
            raise explain_failure([*transcript.tail, *printed], f"debian:{reference}")
        for text in transcript.notices:
            ctx.notice(text)


def _script(recipe: Recipe, architecture: str, work: Path, kind: str, output: Path) -> Sequence[str | Path]:
    import uuid

    packages = ",".join(recipe.packages)
    script = ("sh", _HERE / "build.sh", work, kind, recipe.suite, packages, _HERE / "customize.sh", output)
    tools = _HERE / "tools.sh" if recipe.tools else "-"
    return (*script, str(uuid.uuid4()), tools, f"--architectures={architecture}")


def proxy_options(ctx: PullContext) -> tuple[str, ...]:
    """Return mmdebstrap options for fetching through the proxy that the host's apt is told to use."""
    import re

    if ctx.commands.find("apt-config") is None:
        return ()
    done = ctx.commands.run(["apt-config", "dump"], timeout=30, check=False)
    wanted = re.compile(r"Acquire::https?::Proxy(?:-Auto-Detect|::[\w.-]+)? \"[^\"]+\";")
    lines = done.stdout.decode(errors="replace").splitlines()
    return tuple(f"--aptopt={line}" for line in lines if wanted.fullmatch(line))
