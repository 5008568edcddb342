"""The Firecracker process: started on its own, told its machine, known by its command line, ended without a race."""

from __future__ import annotations

import os
import signal
import socket
import time
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
from banger_vmm_firecracker.api import api_socket, ask
from banger_vmm_firecracker.kernel import find_elf
from banger_vmm_firecracker.machine import describe, log_file, metrics_file, vsock_socket
from banger_vmm_firecracker.model import Action, Machine
from banger_vmm_firecracker.probe import find_program

#: Seconds Firecracker gets to open its socket.
_OPEN_TIMEOUT = 20.0


def launch(ctx: StartContext, spec: LaunchSpec, plan: LaunchPlan) -> None:
    """Start Firecracker in a session of its own, tell it the machine, and start the guest."""
    program = find_program(ctx.commands)
    if program is None:
        raise VmmError("firecracker is not installed", hint="see: banger doctor")
    kernel = find_elf(spec.kernel, ctx.paths.cache)
    machine = describe(spec, kernel)
    ctx.record("argv", list(plan.argv))
    _remove_sockets(spec.sockets)
    for file in (log_file(spec.directory), metrics_file(spec.directory)):
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w"):
            pass
    pid = _spawn(program, plan.argv, spec.console, log_file(spec.directory))
    ctx.record("pid", pid)
    ctx.record("start_time", process_start_time(pid))
    _wait_open(pid, spec)
    start(api_socket(spec.sockets), machine)
    # The channel is a link: what connects there learns from that to ask for the agent's port first.
    spec.channel.symlink_to(vsock_socket(spec.sockets).name)


def start(path: Path, machine: Machine) -> None:
    """Tell a Firecracker its machine and start the guest; VmmError when it refuses anything."""
    for target, part in machine.requests():
        ask(path, "PUT", target, part)
    ask(path, "PUT", "/actions", Action(action_type="InstanceStart"))


def _spawn(program: str, argv: tuple[str, ...], console: Path, log: Path) -> int:
    """Start it. Its standard output is the guest's serial console, which has no input."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(console), append, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, os.fspath(log), append, 0o600),
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


def _wait_open(pid: int, spec: LaunchSpec) -> None:
    log = log_file(spec.directory)
    deadline = time.monotonic() + _OPEN_TIMEOUT
    while not _takes_connections(api_socket(spec.sockets)):
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended:
            raise VmmError(f"firecracker ended at once: {_last_line(log)}", hint=f"its words: {log}")
        if time.monotonic() > deadline:
            raise VmmError(
                f"firecracker did not open its socket within {_OPEN_TIMEOUT:.0f} s", hint=f"see {log}"
            )
        time.sleep(0.002)


def _takes_connections(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        return connection.connect_ex(os.fspath(path)) == 0


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][-300:] if lines else "it printed nothing"


def find(section: Mapping[str, Any], vm_id: str) -> int | None:
    """Return the VM's Firecracker: the recorded one, if it still is, else the one with the id on its command line."""
    pid, started = section.get("pid"), section.get("start_time")
    words = ("--id", vm_id)
    if (
        isinstance(pid, int)
        and isinstance(started, int)
        and is_process_alive(pid, started)
        and has_arguments(pid, *words)
    ):
        return pid
    return find_process(*words) if "argv" in section else None


def kill(ctx: UndoContext) -> None:
    """End the VM's Firecracker and remove its sockets. It has nothing of a disk to write out first."""
    pid = find(ctx.section, ctx.vm.id)
    if pid is not None:
        if not kill_process(pid, process_start_time(pid), signals=(signal.SIGKILL,)):
            raise VmmError(f"firecracker process {pid} does not end", hint=f"kill -9 {pid}")
    else:
        _reap(ctx.section.get("pid"))
    _remove_sockets(ctx.paths.sockets)


def _remove_sockets(sockets: Path) -> None:
    for name in ("agent", "api", "vsock"):
        (sockets / name).unlink(missing_ok=True)


def _reap(pid: object) -> None:
    """Collect our own child's status once it ended by itself; another daemon's child is init's to collect."""
    if isinstance(pid, int):
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
