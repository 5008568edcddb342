"""Pulling an image: check the host, build in a namespace, leave the root file system and the work seed."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from banger.api import HostError, NotFoundError, PulledImage

if TYPE_CHECKING:
    from banger.api import PullContext

#: Suites that can be built, each with the mmdebstrap options it needs.
SUITES: dict[str, tuple[str, ...]] = {
    # Its packages still ship /bin and /lib; the hook lays the links to /usr first, so that usrmerge, a
    # conversion program in Perl, is not installed.
    "bookworm": ("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",),
    "trixie": (),
}

#: A systemd machine that is pleasant to work in; what a project needs beyond it is one ``apt install`` away.
PACKAGES = (
    *("systemd-sysv", "dbus", "udev", "procps", "sudo", "tzdata"),
    *("iproute2", "iputils-ping", "openssh-server", "ca-certificates", "curl"),
    *("bash-completion", "git", "kmod", "less", "ncurses-base", "ncurses-term"),
)

#: ``uname -m`` to Debian's name.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

#: Seconds until a build is given up, on a slow machine with a slow line.
BUILD_TIMEOUT = 3600.0

_HERE = Path(__file__).parent


def default_name(reference: str) -> str:
    """Return ``debian-<suite>``; NotFoundError for a suite that cannot be built."""
    if reference not in SUITES:
        close = difflib.get_close_matches(reference, SUITES, n=1)
        meant = f"did you mean debian:{close[0]}? " if close else ""
        there = ", ".join(f"debian:{suite}" for suite in SUITES)
        raise NotFoundError(f"there is no image debian:{reference}", hint=f"{meant}there is {there}")
    return f"debian-{reference}"


def pull(reference: str, ctx: PullContext) -> PulledImage:
    """Build the image of a suite in ``ctx.staging``.

    :raises NotFoundError: an unknown suite.
    :raises HostError: something on this machine is missing; the hint says what to do about it.
    :raises ImageError: the packages could not be fetched, verified or installed.
    """
    from banger_images_debian.seed import unpack_seed

    default_name(reference)
    ctx.progress("preparing", f"Debian {reference} is built from its own packages")
    architecture = check_host(ctx)
    output = ctx.staging / "out"
    output.mkdir()
    build(reference, architecture, output, ctx)
    seed = ctx.staging / "work-seed"
    unpack_seed(output / "seed.tar", seed)
    rootfs = ctx.staging / "rootfs.ext4"
    (output / "rootfs.ext4").rename(rootfs)
    (output / "seed.tar").unlink()
    output.rmdir()
    return PulledImage(rootfs, "debian", kernel_ref=f"debian:{reference}", work_seed=seed)


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


def build(suite: str, architecture: str, output: Path, ctx: PullContext) -> None:
    """Run the build script in its namespaces, following what it prints."""
    from banger_images_debian.failure import explain_failure
    from banger_images_debian.namespace import find_namespace, make_work_directory
    from banger_images_debian.transcript import Transcript

    namespace = find_namespace(ctx.commands)
    with make_work_directory(namespace, ctx) as (work, kind):
        line = (*namespace.prefix, *_script(suite, architecture, work, kind, output))
        options = (*SUITES[suite], *proxy_options(ctx))
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
            raise explain_failure([*transcript.tail, *printed], f"debian:{suite}")


def _script(suite: str, architecture: str, work: Path, kind: str, output: Path) -> Sequence[str | Path]:
    import uuid

    script = ("sh", _HERE / "build.sh", work, kind, suite, ",".join(PACKAGES), _HERE / "customize.sh", output)
    return (*script, str(uuid.uuid4()), f"--architectures={architecture}")


def proxy_options(ctx: PullContext) -> tuple[str, ...]:
    """Return mmdebstrap options for fetching through the proxy that the host's apt is told to use."""
    import re

    if ctx.commands.find("apt-config") is None:
        return ()
    done = ctx.commands.run(["apt-config", "dump"], timeout=30, check=False)
    wanted = re.compile(r"Acquire::https?::Proxy(?:-Auto-Detect|::[\w.-]+)? \"[^\"]+\";")
    lines = done.stdout.decode(errors="replace").splitlines()
    return tuple(f"--aptopt={line}" for line in lines if wanted.fullmatch(line))
