"""The Firecracker process: told its machine, known by its id, ended at once."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from banger.api import (
    LaunchPlan,
    LaunchSpec,
    StartContext,
    UndoContext,
    VmmError,
    end_vmm,
    find_vmm,
    process_start_time,
    spawn_vmm,
    wait_vmm_open,
)
from banger_vmm_firecracker import jail
from banger_vmm_firecracker.api import api_socket, ask
from banger_vmm_firecracker.kernel import find_elf
from banger_vmm_firecracker.machine import describe, log_file, metrics_file, vsock_socket
from banger_vmm_firecracker.model import Action, Machine
from banger_vmm_firecracker.probe import find_program


def launch(ctx: StartContext, spec: LaunchSpec, plan: LaunchPlan) -> None:
    """Start Firecracker, in a jail where anybody can make one, tell it the machine, and start the guest."""
    program = find_program(ctx.commands)
    if program is None:
        raise VmmError("firecracker is not installed", hint="see: banger doctor")
    jailed = ctx.privileged.find() is not None
    spec = jail.real(spec) if jailed else spec
    kernel = find_elf(spec.kernel, ctx.paths.cache)
    kernel = kernel.resolve() if jailed else kernel
    machine = describe(spec, kernel)
    ctx.record("argv", list(plan.argv))
    ctx.record("jailed", jailed)
    ctx.record("machine", f"{plan.machine} ({'jail' if jailed else 'no jail'})")
    _remove_sockets(spec.sockets)
    for file in (log_file(spec.directory), metrics_file(spec.directory)):
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w"):
            pass
    log, api = log_file(spec.directory), api_socket(spec.sockets)
    if jailed:
        pid, started = jail.launch(ctx.privileged, spec, kernel)
    else:
        # Its standard output is the guest's serial console, which has no input.
        pid = spawn_vmm(program, plan.argv, output=spec.console, log=log)
        started = process_start_time(pid) or 0
    ctx.record("pid", pid)
    ctx.record("start_time", started)
    wait_vmm_open(pid, "firecracker", log, lambda: _takes_connections(api))
    start(api, machine)
    # The channel is a link: what connects there learns from that to ask for the agent's port first.
    spec.channel.symlink_to(vsock_socket(spec.sockets).name)


def start(path: Path, machine: Machine) -> None:
    """Tell a Firecracker its machine and start the guest; VmmError when it refuses anything."""
    for target, part in machine.requests():
        ask(path, "PUT", target, part)
    ask(path, "PUT", "/actions", Action(action_type="InstanceStart"))


def _takes_connections(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        return connection.connect_ex(os.fspath(path)) == 0


def find(section: Mapping[str, Any], vm_id: str) -> int | None:
    """Return the VM's Firecracker: the recorded one, if it still is, else the one with the id on its command line."""
    return find_vmm(section, "--id", vm_id)


def kill(ctx: UndoContext) -> None:
    """End the VM's Firecracker and remove its sockets. It has nothing of a disk to write out first."""
    jailed = bool(ctx.section.get("jailed"))
    if jailed:
        jail.end(ctx.privileged, ctx.vm.id)
    end_vmm("firecracker", find(ctx.section, ctx.vm.id), ctx.section, (signal.SIGKILL,))
    if jailed:
        jail.remove(ctx.privileged, ctx.vm.id)
    _remove_sockets(ctx.paths.sockets)


def _remove_sockets(sockets: Path) -> None:
    for name in ("agent", "api", "vsock"):
        (sockets / name).unlink(missing_ok=True)
