"""Where a build runs: as root in namespaces of its own, the user being mapped to root where they are not.

The work happens on a tmpfs that only the build's mount namespace sees, so files of subordinate ids, which an
ordinary user could not remove, never reach a directory of the host, not even when everything is killed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from banger.api import HostError

if TYPE_CHECKING:
    from banger.api import Commands, PullContext

#: Bytes of memory that must be free for a build to run in it: a finished root takes a quarter of that, but
#: apt's lists and packages lie beside it meanwhile, and the host has other work. With packages beyond the lean ones
#: it may be several times as much.
TMPFS_NEEDS = 1536 * 1024**2

_MAPPED = ("--user", "--map-root-user", "--map-auto")
_PRIVATE = ("--mount", "--pid", "--fork", "--kill-child")


@dataclass(frozen=True, slots=True)
class Namespace:
    """How to run a program as (mapped) root: what to put before its name, and what it can do there."""

    prefix: tuple[str, ...]
    can_mount: bool
    mapped: bool


def find_namespace(commands: Commands) -> Namespace:
    """Return the best namespace this user can have here.

    :raises HostError: an ordinary user without user namespaces or subordinate ids; the hint names the
        package or the line that is missing.
    """
    prefix: tuple[str, ...] = ("unshare", *_PRIVATE)
    if os.geteuid() == 0:
        if commands.run([*prefix, "true"], timeout=30, check=False).status == 0:
            return Namespace(prefix, can_mount=True, mapped=False)
        # Root in a container without CAP_SYS_ADMIN: mmdebstrap does without mounts as well.
        return Namespace((), can_mount=False, mapped=False)
    commands.resolve("newuidmap")
    prefix = ("unshare", *_MAPPED, *_PRIVATE)
    done = commands.run([*prefix, "true"], timeout=30, check=False)
    if done.status != 0:
        raise explain_refusal(done.stderr.decode(errors="replace").strip(), _user_name())
    return Namespace(prefix, can_mount=True, mapped=True)


def explain_refusal(said: str, user: str, root: Path = Path("/")) -> HostError:
    """Return the error for a refused user namespace, with the line that allows it.

    :param said: what ``unshare`` printed.
    :param root: where ``etc`` and ``proc`` are.
    """
    if "map-auto" in said:
        return HostError(
            "unshare is too old to map ids", hint="util-linux 2.38 or newer is needed (Debian 12)"
        )
    if missing := _without_sub_ids(user, root):
        return missing
    switches = {
        "kernel/unprivileged_userns_clone": ("0", "1"),
        "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
        "user/max_user_namespaces": ("0", "15000"),
    }
    for switch, (closed, opened) in switches.items():
        if _read(root / "proc/sys" / switch).strip() == closed:
            line = f"sudo sysctl -w {switch.replace('/', '.')}={opened}"
            return HostError("ordinary users may not make user namespaces here", hint=line)
    return HostError(
        f"a user namespace could not be made: {said[-300:]}", hint="run banger as root, or allow it"
    )


def _without_sub_ids(user: str, root: Path) -> HostError | None:
    files = [_read(root / "etc" / name) for name in ("subuid", "subgid")]
    rows = [[line.split(":") for line in text.splitlines() if line.count(":") == 2] for text in files]
    if all(any(row[0] in (user, str(os.geteuid())) for row in each) for each in rows):
        return None
    taken = [
        int(row[1]) + int(row[2]) for each in rows for row in each if row[1].isdigit() and row[2].isdigit()
    ]
    first = max([100000, *taken])
    ids = f"{first}-{first + 65535}"
    line = f"sudo usermod --add-subuids {ids} --add-subgids {ids} {user}"
    return HostError(f"{user} has no subordinate ids, which a build without root needs", hint=line)


@contextlib.contextmanager
def make_work_directory(
    namespace: Namespace, ctx: PullContext, needs: int = TMPFS_NEEDS
) -> Iterator[tuple[Path, str]]:
    """Give a directory for the build and its kind: ``tmpfs:MIB`` to mount one there, ``dir`` to use it as it is.

    It is gone afterwards. Without enough memory an ordinary user's build lies in the cache directory; what a
    crash left there is removed by the next.

    :param needs: bytes of memory to be free for a tmpfs.
    """
    if namespace.can_mount and (free := available_memory()) >= needs:
        work = ctx.staging / "work"
        work.mkdir()
        yield work, f"tmpfs:{max(2048, free // 2**21)}"
        work.rmdir()
        return
    parent = ctx.cache if namespace.mapped else ctx.staging
    _remove_stale(namespace, ctx.commands, parent)
    work = parent / f"build-{os.urandom(4).hex()}"
    work.mkdir(parents=True)
    try:
        with _hold(work):
            yield work, "dir"
    finally:
        _remove(namespace, ctx.commands, work)


@contextlib.contextmanager
def _hold(directory: Path) -> Iterator[bool]:
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _remove_stale(namespace: Namespace, commands: Commands, parent: Path) -> None:
    for work in parent.glob("build-*"):
        # The lock goes with the process that built there, however it ended.
        with _hold(work) as alone:
            if alone:
                _remove(namespace, commands, work)


def _remove(namespace: Namespace, commands: Commands, work: Path) -> None:
    commands.run([*namespace.prefix, "rm", "-rf", "--one-file-system", work], timeout=300, check=False)


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that are free, for this process's control group."""
    free = 0
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    group = _read(root / "proc/self/cgroup").rpartition("::")[2].strip().lstrip("/")
    for directory in (root / "sys/fs/cgroup" / group, *(root / "sys/fs/cgroup" / group).parents):
        limit, used = _read(directory / "memory.max").strip(), _read(directory / "memory.current").strip()
        if limit.isdigit() and used.isdigit():
            free = min(free, int(limit) - int(used))
    return free


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
