"""``purge``: user mode's uninstall. Removes banger's own directories and nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from banger.cli.client import Client
from banger.cli.launch import end_daemon
from banger.cli.output import clean, print_json, print_table, say
from banger.cli.vm import json_option, run_operation
from banger.config.paths import NAME_ROUTES, Paths, find_paths
from banger.errors import BangerError, ConflictError, DaemonError, StoreError, UsageError
from banger.model.size import format_bytes

#: Seconds that a daemon which was told to end gets to finish what it began, one more than it takes at most.
_LOCK_SECONDS = 31.0


@dataclass(frozen=True, slots=True)
class Target:
    """One of banger's own directories or files.

    :param size: bytes that it takes on the disk.
    """

    what: str
    path: Path
    size: int


@click.command()
@click.option("--dry-run", is_flag=True, help="only list what would go")
@click.option("--config", "with_config", is_flag=True, help="the configuration file as well")
@click.option("--yes", "-y", is_flag=True, help="do not ask")
@json_option
def purge(dry_run: bool, with_config: bool, yes: bool, as_json: bool) -> None:
    """Remove every VM, image and kernel, all state and the cache: what uninstalling the package leaves.

    VMs are stopped and deleted first. Nothing outside banger's own directories is touched; what other programs were
    told of banger (completion, ssh) is named.
    """
    paths = find_paths()
    if paths.service is not None:
        raise UsageError(
            "the daemon is a service here",
            hint='sudo "$(command -v banger)" system uninstall --purge; of user mode: banger --host user purge',
        )
    targets = find_targets(paths, with_config)
    if targets and not (dry_run or yes or sys.stdin.isatty()):
        raise UsageError("nothing was removed: nobody is there to say yes", hint="banger purge --yes")
    vms = _vms(paths)
    leftovers = find_leftovers(paths, with_config)
    if not as_json:
        _print_plan(targets, vms, leftovers)
    if not targets or dry_run:
        if as_json:
            _print_result(targets, vms, leftovers, removed=False)
        return
    if not (yes or _agreed()):
        raise UsageError("nothing was removed: the answer was no", hint="banger purge --yes")
    _end_everything(paths)
    with _locked(paths):
        for target in targets:
            _remove(target)
    if as_json:
        _print_result(targets, vms, leftovers, removed=True)
    else:
        print(f"removed: {format_bytes(sum(target.size for target in targets))}")


def find_targets(paths: Paths, with_config: bool) -> list[Target]:
    """Return what there is to remove.

    :raises StoreError: a directory is a link, somebody else's, or has another file system mounted in it.
    """
    found = [("VMs, images, kernels, state", paths.state), ("cache", paths.cache)]
    if with_config:
        found.append(("configuration", paths.config[-1]))
    targets = []
    for what, path in found:
        if os.path.lexists(path):
            _check_ours(path)
            targets.append(Target(what, path, _disk_usage(path)))
    return targets


def _check_ours(path: Path) -> None:
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        raise StoreError(
            f"{path} is a link to {path.readlink()}, which purge does not follow",
            hint="remove what is behind it by hand, then the link",
        )
    if info.st_uid != os.geteuid():
        raise StoreError(f"{path} belongs to user {info.st_uid}", hint="run purge as that user")
    for folder, _, _ in os.walk(path):
        if os.lstat(folder).st_dev != info.st_dev:
            raise StoreError(f"another file system is mounted at {folder}", hint=f"umount {folder}")


def _disk_usage(path: Path) -> int:
    total = os.lstat(path).st_blocks * 512
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


def _vms(paths: Paths) -> list[str]:
    """Return the names of the VMs there are; the daemon is started for it only where there can be some."""
    if not paths.database.exists():
        return []
    try:
        return [str(vm["name"]) for vm in Client().call("vm.list")["vms"]]
    except BangerError as error:
        return _vms_without_daemon(paths, error)


def _vms_without_daemon(paths: Paths, error: BangerError) -> list[str]:
    """Return nothing when no VM can be running although the daemon does not say so; else raise its error."""
    running = [pid for pid in _processes() if _works_in(pid, paths.state)]
    if running:
        raise DaemonError(
            f"{error.message}; and processes still use {paths.state}: {', '.join(map(str, running))}",
            hint=error.hint or "end them, then try again",
        ) from error
    say(f"note: {clean(error.message)}; nothing runs, so its files can go")
    return []


def _processes() -> Iterator[int]:
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return (pid for pid in pids if pid != os.getpid())


def _works_in(pid: int, directory: Path) -> bool:
    """Tell whether a process names the directory in its arguments, as every VMM of ours does."""
    try:
        return os.fsencode(f"{directory}/") in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def find_leftovers(paths: Paths, with_config: bool) -> list[str]:
    """Return lines on what stays: files of other programs that name banger, and its own configuration."""
    home = Path(os.path.expanduser("~"))
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    lines = [
        f"{script}: completion; rm {script}"
        for script in (
            data / "bash-completion/completions/banger",
            settings / "fish/completions/banger.fish",
            home / ".zfunc/_banger",
        )
        if os.path.lexists(script)
    ]
    for file in (home / ".bashrc", home / ".zshrc", settings / "fish/config.fish", home / ".ssh/config"):
        with contextlib.suppress(OSError):
            text = file.read_bytes()[: 1 << 20]
            if b"banger" in text:
                lines.append(f"{file}: has a line that names banger; {_how_to_mend(file)}")
    lines += [
        f'{file}: the way to names of VMs; sudo "$(command -v banger)" dns uninstall'
        for file in NAME_ROUTES
        if file.exists()
    ]
    if not with_config and paths.config[-1].exists():
        lines.append(f"{paths.config[-1]}: your settings; banger purge --config removes them too")
    return lines


def _how_to_mend(file: Path) -> str:
    from banger.cli.group import plugin_commands
    from banger.cli.table import COMMANDS

    is_ssh = file.parent.name == ".ssh"
    if is_ssh and any(command.name == "ssh-config" for command in (*COMMANDS, *plugin_commands())):
        return "banger ssh-config --uninstall"
    return "take it out"


def _print_plan(targets: list[Target], vms: list[str], leftovers: list[str]) -> None:
    if not targets:
        say("there is nothing of banger's here")
    else:
        rows = [(target.what, str(target.path), format_bytes(target.size)) for target in targets]
        print_table(("WHAT", "PATH", "SIZE"), rows)
    if vms:
        print(f"VMs: {', '.join(clean(name) for name in vms)}")
    for line in leftovers:
        say(f"stays: {clean(line)}")


def _print_result(targets: list[Target], vms: list[str], leftovers: list[str], *, removed: bool) -> None:
    listed: list[dict[str, Any]] = [
        {"what": target.what, "path": str(target.path), "bytes": target.size} for target in targets
    ]
    print_json({"removed": removed, "paths": listed, "vms": vms, "stays": leftovers})


def _agreed() -> bool:
    print("remove all of it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _end_everything(paths: Paths) -> None:
    """Delete the VMs through the daemon, so that all they hold is released, and end it."""
    for name in _vms(paths):
        run_operation("vm.delete", {"vm": name, "force": True})
    end_daemon(Client(paths=paths), force=False)


@contextlib.contextmanager
def _locked(paths: Paths) -> Iterator[None]:
    """Hold the daemon's lock, so that none comes up while its directories go."""
    if not paths.state.is_dir():
        yield  # no state, no daemon
        return
    with open(paths.lock, "a+", encoding="ascii") as lock:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:  # it no longer answers, but finishes what it began
                if time.monotonic() > deadline or Client().is_up():
                    raise ConflictError(
                        "another command has started the daemon again",
                        hint="let it finish, then: banger purge",
                    ) from error
                time.sleep(0.02)
        yield


def _remove(target: Target) -> None:
    failed: list[str] = []

    def remember(_: object, path: str, info: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(info[1], FileNotFoundError):
            failed.append(f"{path} ({info[1]})")

    if target.path.is_dir():
        for folder, folders, _ in os.walk(target.path):
            for name in folders:  # a directory without permissions cannot be emptied
                inner = os.path.join(folder, name)
                if not os.path.islink(inner):
                    with contextlib.suppress(OSError):
                        os.chmod(inner, 0o700)
        shutil.rmtree(target.path, onerror=remember)
    else:
        target.path.unlink(missing_ok=True)
    if failed:
        raise StoreError(
            f"{len(failed)} files could not be removed, first {failed[0]}", hint="check who owns them"
        )
