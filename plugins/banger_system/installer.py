"""Making banger two services of this host, and taking them away again. All of it as root."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from banger.api import BangerError, Client, Commands, ConflictError, HostError, build_info
from banger_system.environment import daemon_files, find_python, helper_files, make_environment
from banger_system.guard import find_writable
from banger_system.layout import DAEMON_UNIT, HELPER_UNIT, Layout
from banger_system.programs import find_programs
from banger_system.service import ask_daemon, check_systemd, systemctl, wait_answers
from banger_system.tools import make_tools
from banger_system.units import Owner, daemon_unit, helper_unit, tmpfiles

#: What the code is made of.
_PARTS = ("helper", "daemon", "bin")
#: Called with what is being done.
Tell = Callable[[str], None]
#: Seconds for systemd-tmpfiles.
_TMPFILES_SECONDS = 60.0


def install(owner: Owner, layout: Layout, commands: Commands, tell: Tell) -> dict[str, Any]:
    """Install, or install again, and wait until the daemon answers; return ``daemon.status``.

    When that fails, everything is as before.
    """
    check_systemd(commands)
    python = find_python(layout.uid)
    staged = layout.code / ".new"
    with _staging(staged, layout):
        tell("copying banger to where only root writes")
        make_environment(staged / "helper", python, helper_files(), commands)
        make_environment(staged / "daemon", python, daemon_files(), commands)
        make_tools(staged / "bin", commands)
        check_code(layout, (staged,))
        files = _files(owner, layout, find_programs(commands, layout.uid))
        tell("starting the services")
        with _restoring(files, layout, commands):
            stop(commands)
            _swap(staged, layout.code)
            for path, text in files.items():
                _write(path, text)
            _make_places(layout, commands)
            systemctl(commands, "daemon-reload")
            systemctl(commands, "enable", "--quiet", HELPER_UNIT, DAEMON_UNIT)
            systemctl(commands, "restart", HELPER_UNIT, DAEMON_UNIT)
            answer = wait_answers(layout, commands)
    return answer


def restart(layout: Layout, commands: Commands, *, force: bool) -> dict[str, Any]:
    """Start the services again and wait until the daemon answers; VMs go on.

    :param force: also while operations are under way.
    :raises ConflictError: operations are under way.
    """
    check_systemd(commands)
    if not layout.install.exists():
        raise ConflictError(
            "banger is no service here", hint='sudo "$(command -v banger)" system install --owner USER'
        )
    answer = ask_daemon(layout)
    if answer is not None and answer["operations"] > 0 and not force:
        raise ConflictError(
            f"{answer['operations']} operations are under way",
            hint="banger op list; or end them: system restart --force (VMs go on)",
        )
    check_code(layout, ())
    systemctl(commands, "restart", HELPER_UNIT, DAEMON_UNIT)
    return wait_answers(layout, commands)


def check_code(layout: Layout, more: tuple[Path, ...]) -> None:
    """HostError when anyone but root can change what the services run.

    :param more: directories that are to take the place of the installed code.
    """
    units = [path for path in (layout.unit(HELPER_UNIT), layout.unit(DAEMON_UNIT)) if path.exists()]
    code = [layout.code] if layout.code.exists() else []
    found = next(find_writable([*code, *more, *units], layout.uid, layout.root), None)
    if found is not None:
        raise HostError(
            f"{found}: whoever can change what the services run is root",
            hint="make it root's alone: sudo chown root: PATH; sudo chmod go-w PATH",
        )


def stop(commands: Commands) -> None:
    """End both services, where they are; VMs go on."""
    for name in (DAEMON_UNIT, HELPER_UNIT):
        systemctl(commands, "stop", name, check=False)


@contextlib.contextmanager
def _staging(staged: Path, layout: Layout) -> Iterator[None]:
    """Have an empty directory for what is to come, and none of it afterwards."""
    try:
        shutil.rmtree(staged, ignore_errors=True)
        _make_parents(staged, layout)
        staged.mkdir(mode=0o755)
        staged.chmod(0o755)
        yield
    except OSError as error:
        raise HostError(
            f"{error.filename}: {error.strerror}", hint="check free space: df -h; and mounts"
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        with contextlib.suppress(OSError):
            layout.code.rmdir()  # which succeeds only when there is nothing


def _make_parents(path: Path, layout: Layout) -> None:
    for folder in reversed(path.parents):
        if folder.is_relative_to(layout.root) and not folder.exists():
            folder.mkdir()
            folder.chmod(0o755)


def _files(owner: Owner, layout: Layout, programs: dict[str, str]) -> dict[Path, str]:
    commit, _ = build_info()
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    noted = (
        "# Written by `banger system install`; `banger system uninstall` removes it.\n"
        f'owner = "{owner.name}"\nuid = {owner.uid}\nversion = "{version("banger")}"\ncommit = "{commit}"\n'
        f'installed_at = "{now}"\n'
    )
    return {
        layout.unit(HELPER_UNIT): helper_unit(owner, programs),
        layout.unit(DAEMON_UNIT): daemon_unit(owner, programs),
        layout.tmpfiles: tmpfiles(owner),
        layout.install: noted,
    }


def _write(path: Path, text: str) -> None:
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o755)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(0o644)
    os.replace(new, path)


def _make_places(layout: Layout, commands: Commands) -> None:
    commands.run(["systemd-tmpfiles", "--create", layout.tmpfiles], timeout=_TMPFILES_SECONDS)


def _swap(staged: Path, code: Path) -> None:
    """Put new environments in the place of the old ones, which stay beside them until all is well."""
    old = code / ".old"
    shutil.rmtree(old, ignore_errors=True)
    old.mkdir()
    for name in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            (code / name).rename(old / name)
        (staged / name).rename(code / name)


def _swap_back(code: Path) -> None:
    old = code / ".old"
    if not old.exists():  # it did not come to that
        return
    for name in _PARTS:
        shutil.rmtree(code / name, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (old / name).rename(code / name)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _restoring(files: dict[Path, str], layout: Layout, commands: Commands) -> Iterator[None]:
    """Put everything back as it was when what is done inside fails, or is interrupted."""
    before = {path: path.read_text() if path.exists() else None for path in files}
    shutil.rmtree(layout.code / ".old", ignore_errors=True)
    try:
        yield
    except BaseException:
        stop(commands)
        _swap_back(layout.code)
        was_there = before[layout.install] is not None
        if not was_there:
            systemctl(commands, "disable", "--quiet", HELPER_UNIT, DAEMON_UNIT, check=False)
        for path, text in before.items():
            if text is None:
                path.unlink(missing_ok=True)
            else:
                _write(path, text)
        systemctl(commands, "daemon-reload", check=False)
        systemctl(
            commands,
            *(("restart",) if was_there else ("reset-failed",)),
            HELPER_UNIT,
            DAEMON_UNIT,
            check=False,
        )
        if not was_there:
            _remove_runtime(layout)
            shutil.rmtree(layout.jails, ignore_errors=True)
        raise
    shutil.rmtree(layout.code / ".old", ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Removed:
    """What an uninstall took away, and what it left."""

    removed: tuple[str, ...]
    kept: tuple[str, ...]


def uninstall(layout: Layout, commands: Commands, *, force: bool, purge: bool) -> Removed:
    """Take the services away; with ``purge`` the VMs, images and kernels too. What is not there is no error.

    :param force: end VMs that run.
    :raises ConflictError: VMs run.
    """
    answer = ask_daemon(layout)
    if answer is not None and answer["running_vms"] > 0 and not (force or purge):
        raise ConflictError(
            f"VMs run, {answer['running_vms']} of them, and would be left alone",
            hint="stop them: banger vm stop NAME; or end them at once: system uninstall --force",
        )
    if commands.find("systemctl") is not None:
        for name in (DAEMON_UNIT, HELPER_UNIT):
            if layout.unit(name).exists():
                if name == DAEMON_UNIT:
                    _end_vms(layout)
                systemctl(commands, "disable", "--now", "--quiet", name, check=False)
                systemctl(commands, "kill", "--signal=SIGKILL", name, check=False)  # what it left running
    paths = [layout.unit(DAEMON_UNIT), layout.unit(HELPER_UNIT), layout.tmpfiles, layout.install, layout.code]
    paths.append(layout.jails)
    removed = _remove((*paths, *(layout.state if purge else ())))
    _remove_runtime(layout)
    with contextlib.suppress(OSError):
        layout.install.parent.rmdir()
    if removed and commands.find("systemctl") is not None:
        systemctl(commands, "daemon-reload", check=False)
        systemctl(commands, "reset-failed", DAEMON_UNIT, HELPER_UNIT, check=False)
    kept = [str(path) for path in (*layout.state, layout.config) if path.exists()]
    return Removed(tuple(map(str, removed)), tuple(kept))


def _end_vms(layout: Layout) -> None:
    """Let the daemon end its VMs and remove their bridge; what it does not manage is killed later, or stays."""
    client = Client(layout.socket)
    with contextlib.suppress(BangerError):
        for vm in client.peek("vm.list", 10.0)["vms"]:
            if vm["state"] in ("running", "paused"):
                with contextlib.suppress(BangerError):
                    client.peek("vm.kill", 60.0, {"vm": vm["name"]})
    with contextlib.suppress(BangerError):
        client.peek("bridge.remove", 60.0)


def _remove_runtime(layout: Layout) -> None:
    """Remove the sockets; their directories too, where nobody else has anything in them."""
    for folder in layout.runtime:
        _remove(tuple(folder.glob("*.sock")))
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove(paths: tuple[Path, ...]) -> list[Path]:
    removed = []
    for path in paths:
        if not os.path.lexists(path):
            continue
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            raise HostError(
                f"{error.filename or path} cannot be removed: {error.strerror}",
                hint="see: lsof, mount; then again",
            ) from error
        removed.append(path)
    return removed
