"""The QEMU process: started on its own, known by its command line, ended without a race."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from banger.api import (
    LaunchPlan,
    LaunchSpec,
    StartContext,
    UndoContext,
    VmmError,
    find_process,
    has_arguments,
    inheritable_descriptors,
    is_process_alive,
    kill_process,
    process_start_time,
)

#: Seconds QEMU gets to open its sockets, and to write its disks' metadata out when it is told to end.
_OPEN_TIMEOUT, _TERM_PATIENCE = 20.0, 3.0


def launch(ctx: StartContext, spec: LaunchSpec, plan: LaunchPlan) -> None:
    """Start QEMU in a session of its own and wait until its sockets are open."""
    program = ctx.commands.resolve(plan.argv[0])
    settings: Any = ctx.settings("vmm-qemu")
    ctx.record("argv", [*plan.argv, *settings.extra_arguments])
    for name in (spec.channel, spec.sockets / "qmp"):
        name.unlink(missing_ok=True)
    log = spec.directory / "qemu.log"
    pid = _spawn(program, [*plan.argv, *settings.extra_arguments], log)
    ctx.record("pid", pid)
    ctx.record("start_time", process_start_time(pid))
    deadline = time.monotonic() + _OPEN_TIMEOUT
    while not spec.channel.exists():
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended:
            raise VmmError(f"qemu ended at once: {_last_line(log)}", hint=f"its words: {log}")
        if time.monotonic() > deadline:
            raise VmmError(
                f"qemu did not open {spec.channel.name} within {_OPEN_TIMEOUT:.0f} s", hint=f"see {log}"
            )
        time.sleep(0.002)


def _spawn(program: str, argv: list[str], log: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in inheritable_descriptors()),
    ]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    ignored = [signal.SIGINT, signal.SIGHUP, signal.SIGPIPE]
    try:
        return os.posix_spawn(
            program, argv, environment, file_actions=actions, setsid=True, setsigdef=ignored
        )
    except OSError as error:
        raise VmmError(
            f"{program} could not be started: {error.strerror}", hint="see: banger doctor"
        ) from error


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][-300:] if lines else "it printed nothing"


def find(section: Mapping[str, Any], vm_id: str) -> int | None:
    """Return the VM's QEMU: the recorded one, if it is still that, else the one with the UUID on its command line."""
    pid, started = section.get("pid"), section.get("start_time")
    words = ("-uuid", str(uuid.UUID(vm_id)))
    if (
        isinstance(pid, int)
        and isinstance(started, int)
        and is_process_alive(pid, started)
        and has_arguments(pid, *words)
    ):
        return pid
    return find_process(*words) if "argv" in section else None


def kill(ctx: UndoContext) -> None:
    """End the VM's QEMU and remove its sockets."""
    pid = find(ctx.section, ctx.vm.id)
    if pid is not None:
        signals = (signal.SIGTERM, signal.SIGKILL)
        if not kill_process(pid, process_start_time(pid), signals=signals, patience=_TERM_PATIENCE):
            raise VmmError(f"qemu process {pid} does not end", hint=f"kill -9 {pid}")
    else:
        _reap(ctx.section.get("pid"))
    for name in ("agent", "qmp", "event", "console"):
        (ctx.paths.sockets / name).unlink(missing_ok=True)


def _reap(pid: object) -> None:
    """Collect our own child's status once it ended by itself; another daemon's child is init's to collect."""
    if isinstance(pid, int):
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
