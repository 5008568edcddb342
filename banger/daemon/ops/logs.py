"""The operation that reads what a VM's guest printed on its console, and what its VMM said."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from banger.daemon.context import OperationContext
from banger.daemon.lifecycle import resolve_vm
from banger.daemon.ops.detail import VmParams
from banger.daemon.starts import vm_paths
from banger.errors import NotFoundError
from banger.model.command import Operation
from banger.model.vm import VmState

#: Bytes of a console that one call returns.
_LOG_LIMIT = 1024 * 1024


class VmLogsParams(VmParams):
    """``offset``: byte to read from; negative counts from the end. ``source``: the console, or what the VMM printed."""

    offset: int = 0
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
    try:
        with open(file_of[params.source], "rb") as file:
            size = file.seek(0, 2)
            begin = max(0, size + params.offset) if params.offset < 0 else min(params.offset, size)
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
