"""The operation that reads what a VM's guest printed on its console, and what its VMM said."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from banger.daemon.context import OperationContext
from banger.daemon.lifecycle import resolve_vm
from banger.daemon.ops.detail import VmParams
from banger.daemon.starts import vm_paths
from banger.errors import NotFoundError
from banger.model.command import Operation
from banger.model.vm import VmState
from banger.start.console_times import offset_since

#: Bytes of a console that one call returns.
_LOG_LIMIT = 1024 * 1024


class VmLogsParams(VmParams):
    """``offset``: byte to read from; negative counts from the end. ``source``: the console, or what the VMM printed.

    ``since``: seconds since 1970; in the place of ``offset``, what was printed since then and a few seconds before.
    """

    offset: int = 0
    since: float | None = Field(default=None, ge=0, le=2**40)
    source: Literal["console", "vmm"] = "console"


class VmLogs(BaseModel):
    """Text of the console from ``offset``; ``next`` is where to go on, ``size`` how long it is now."""

    text: str
    next: int
    size: int
    running: bool


def logs(op: OperationContext, params: VmLogsParams) -> VmLogs:
    """Return a piece of a VM's console, or of what its VMM printed."""
    vm = resolve_vm(op.services, params.vm)
    paths = vm_paths(op.services, vm)
    file_of = {"console": paths.console, "vmm": paths.directory / f"{vm.spec.vmm}.log"}
    offset = params.offset
    try:
        with open(file_of[params.source], "rb") as file:
            size = file.seek(0, 2)
            if params.since is not None:
                offset = offset_since(file_of[params.source], params.since)
            begin = max(0, size + offset) if offset < 0 else min(offset, size)
            file.seek(begin)
            data = file.read(_LOG_LIMIT)
    except FileNotFoundError:
        raise NotFoundError(
            f"'{vm.name}' has no {params.source} yet", hint=f"banger vm start {vm.name}"
        ) from None
    text = data.decode(errors="replace")
    running = vm.state in (VmState.RUNNING, VmState.STARTING, VmState.STOPPING)
    return VmLogs(text=text, next=begin + len(data), size=size, running=running)


OPERATIONS = [
    Operation("vm.logs", "a VM's console", VmLogsParams, VmLogs, logs),
]
