"""Pulling a kernel: the suite's package and its own depmod, by apt, without root or the host's apt state."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from banger.api import BangerError, CancelledError, HostError, KernelError, NotFoundError, PulledKernel

if TYPE_CHECKING:
    from banger.api import PullContext

SUITES = ("bookworm", "trixie")

#: ``uname -m`` to the package that depends on the newest kernel. The cloud flavour has what a virtual machine
#: has, virtio and its file systems, at a third of the size.
PACKAGES = {"x86_64": "linux-image-cloud-amd64", "aarch64": "linux-image-cloud-arm64"}

#: Bytes that a suite's kernel takes in the store, as of 2026; they grow by some percent a year.
_SIZES = {"bookworm": 104 << 20, "trixie": 37 << 20}

#: Seconds until a pull is given up.
PULL_TIMEOUT = 1800.0

_HERE = Path(__file__).parent
_FETCH = re.compile(rb"^banger: fetch (\S+) (\d+)$", re.MULTILINE)
_NETWORK = re.compile(
    r"Could not resolve|Temporary failure|nable to connect|Failed to fetch|Network is unreachable"
)
_SIGNATURE = re.compile(r"NO_PUBKEY|is not signed|EXPKEYSIG|BADSIG|signatures couldn't be verified")


def default_name(reference: str) -> str:
    """Return ``debian-<suite>``; NotFoundError for a suite that banger does not know."""
    if reference not in SUITES:
        close = difflib.get_close_matches(reference, SUITES, n=1)
        meant = f"did you mean debian:{close[0]}? " if close else ""
        there = ", ".join(f"debian:{suite}" for suite in SUITES)
        raise NotFoundError(f"there is no kernel debian:{reference}", hint=f"{meant}there is {there}")
    return f"debian-{reference}"


def find_size(reference: str) -> int | None:
    """Return about how many bytes a suite's kernel takes in the store."""
    return _SIZES.get(reference)


def pull(reference: str, ctx: PullContext) -> PulledKernel:
    """Fetch, verify and unpack the newest kernel of a suite.

    :raises NotFoundError: an unknown suite.
    :raises HostError: a program is missing, no space, or the guest's architecture is not this machine's.
    :raises KernelError: the package could not be fetched or verified, or is not what it should be.
    """
    default_name(reference)
    package = check_host(ctx)
    ctx.progress("fetching package lists", f"{package} of {reference}")
    output = ctx.staging / "out"
    output.mkdir()
    fetch(reference, package, output, ctx)
    return arrange(output, ctx.staging)


def check_host(ctx: PullContext) -> str:
    """Return the package for the guest's architecture, or raise HostError for what is missing here."""
    import platform

    for program in ("mmdebstrap", "dpkg-deb"):
        ctx.commands.resolve(program)
    package = PACKAGES.get(ctx.arch)
    if package is None or ctx.arch != platform.machine():
        hint = f"pull it on a machine that is {ctx.arch}"
        raise HostError(f"cannot prepare a Debian kernel for {ctx.arch} on {platform.machine()}", hint=hint)
    return package


def fetch(suite: str, package: str, output: Path, ctx: PullContext) -> None:
    """Leave ``tree/boot`` and ``tree/lib/modules`` in ``output``."""
    import shutil
    import tempfile

    tools = ctx.staging / "tools"
    # Nothing is installed and no package's script runs: mmdebstrap sets up apt's private state and its keys,
    # and unpacks kmod for the hook. The shell is there because what hooks print goes to the standard error.
    line: list[str | Path] = [
        *("sh", "-c", 'exec "$@" 2>&1', "sh"),
        *"mmdebstrap --quiet --mode=chrootless --variant=extract --format=directory --include=kmod".split(),
        '--extract-hook=sh "$BANGER_HOOK" "$1"',
        *proxy_options(ctx),
        *(suite, tools),
    ]
    temporary = output / "tmp"
    temporary.mkdir()
    # Killed, mmdebstrap and apt leave their temporary files where they lie: in staging they go with it.
    env = {
        "TMPDIR": str(temporary),
        "BANGER_HOOK": str(_HERE / "fetch.sh"),
        "BANGER_OUT": str(output),
        "BANGER_PACKAGE": package,
    }
    with tempfile.TemporaryFile(dir=output) as log:
        watch = _Watch(log, output, ctx)
        done = ctx.commands.run(
            line, timeout=PULL_TIMEOUT, stdout=log, env=env, cwd=output, check=False, cancelled=watch.follow
        )
        if done.status != 0:
            printed = (watch.read() + done.stderr).decode(errors="replace")
            raise explain_failure(printed.splitlines(), suite)
    shutil.rmtree(tools)


def arrange(output: Path, staging: Path) -> PulledKernel:
    """Move the kernel and its modules to where they belong; KernelError when they are not both there."""
    import shutil

    releases = [path.name for path in (output / "tree/lib/modules").iterdir()]
    if len(releases) != 1:
        raise KernelError(f"the package holds modules of {len(releases)} kernels")
    modules, vmlinuz = staging / "modules", staging / "vmlinuz"
    (output / "tree/lib/modules" / releases[0]).rename(modules)
    (output / f"tree/boot/vmlinuz-{releases[0]}").rename(vmlinuz)
    for name in ("build", "source"):
        # Links to headers that are not there.
        (modules / name).unlink(missing_ok=True)
    shutil.rmtree(output)
    return PulledKernel(vmlinuz, releases[0], "debian", modules)


class _Watch:
    """What the pull has done so far, from the hook's words and the growing package."""

    def __init__(self, log: IO[bytes], output: Path, ctx: PullContext) -> None:
        self._log = log
        self._output = output
        self._ctx = ctx

    def read(self) -> bytes:
        import os

        # pread leaves the file's position alone, which the writing process shares.
        return os.pread(self._log.fileno(), 256 * 1024, 0)

    def follow(self) -> bool:
        """Report the stage; true once the pull is cancelled."""
        stage, detail, done, total = "fetching package lists", "", None, None
        printed = self.read()
        if b"banger: stage depmod" in printed:
            stage = "indexing modules"
        elif b"banger: stage unpack" in printed:
            stage = "unpacking the kernel"
        elif found := _FETCH.search(printed):
            stage, detail, total = "fetching the kernel", found[1].decode(), int(found[2])
            done = sum(path.stat().st_size for path in self._output.glob("*.deb"))
        try:
            self._ctx.progress(stage, detail, done=done, total=total)
        except CancelledError:
            return True
        return False


def proxy_options(ctx: PullContext) -> tuple[str, ...]:
    """Return mmdebstrap options for fetching through the proxy that the host's apt is told to use."""
    if ctx.commands.find("apt-config") is None:
        return ()
    done = ctx.commands.run(["apt-config", "dump"], timeout=30, check=False)
    wanted = re.compile(r"Acquire::https?::Proxy(?:-Auto-Detect|::[\w.-]+)? \"[^\"]+\";")
    lines = done.stdout.decode(errors="replace").splitlines()
    return tuple(f"--aptopt={line}" for line in lines if wanted.fullmatch(line))


def explain_failure(printed: Sequence[str], suite: str) -> BangerError:
    """Return the error for a pull that printed these lines; the last of them go with it as a note."""
    error = _explain(printed, suite)
    error.add_note("\n".join(printed[-40:]))
    return error


def _explain(printed: Sequence[str], suite: str) -> BangerError:
    if line := next((text for text in printed if "No space left on device" in text), ""):
        return HostError(f"no space left while pulling debian:{suite}: {line[:200]}", hint="free 500 MiB")
    if line := next((text for text in printed if _SIGNATURE.search(text)), ""):
        hint = "sudo apt install --only-upgrade debian-archive-keyring, and look at the clock"
        return KernelError(f"the signature of Debian's kernel could not be verified: {line[:200]}", hint=hint)
    if line := next((text for text in printed if _NETWORK.search(text)), ""):
        hint = "check the network; behind a proxy set http_proxy or apt's Acquire::http::Proxy"
        return KernelError(f"Debian's kernel could not be fetched: {line[:200]}", hint=hint)
    line = next(
        (text for text in printed if text.startswith("E: ")), printed[-1] if printed else "it printed nothing"
    )
    return KernelError(
        f"pulling debian:{suite} failed: {line[:300]}", hint="the daemon's log has all it printed"
    )
