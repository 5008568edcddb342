"""The QEMU process: its sockets, its identity, its end."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Mapping
from typing import Any

from banger.api import (
    LaunchPlan,
    LaunchSpec,
    StartContext,
    UndoContext,
    end_vmm,
    find_vmm,
    process_start_time,
    spawn_vmm,
    wait_vmm_open,
)

#: Seconds QEMU gets to write its disks' metadata out when it is told to end.
_TERM_PATIENCE = 3.0


def launch(ctx: StartContext, spec: LaunchSpec, plan: LaunchPlan) -> None:
    """Start QEMU in a session of its own and wait until its sockets are open."""
    program = ctx.commands.resolve(plan.argv[0])
    settings: Any = ctx.settings("vmm-qemu")
    argv = [*plan.argv, *settings.extra_arguments]
    ctx.record("argv", argv)
    log = spec.directory / "qemu.log"
    for file in (spec.channel, spec.sockets / "qmp", log):
        file.unlink(missing_ok=True)
    pid = spawn_vmm(program, argv, output=log, log=log)
    ctx.record("pid", pid)
    ctx.record("start_time", process_start_time(pid))
    wait_vmm_open(pid, "qemu", log, spec.channel.exists)


def find(section: Mapping[str, Any], vm_id: str) -> int | None:
    """Return the VM's QEMU: the recorded one, if it is still that, else the one with the UUID on its command line."""
    return find_vmm(section, "-uuid", str(uuid.UUID(vm_id)))


def kill(ctx: UndoContext) -> None:
    """End the VM's QEMU and remove its sockets."""
    signals = (signal.SIGTERM, signal.SIGKILL)
    end_vmm("qemu", find(ctx.section, ctx.vm.id), ctx.section, signals, _TERM_PATIENCE)
    for name in ("agent", "qmp", "event", "console"):
        (ctx.paths.sockets / name).unlink(missing_ok=True)
