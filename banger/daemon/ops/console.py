"""The operation that takes a client to a VM's serial console."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from banger.daemon.context import OperationContext
from banger.daemon.ops.detail import VmParams
from banger.daemon.ops.stream import StreamToken, running_vm
from banger.daemon.serial import open_serial
from banger.daemon.services import Services
from banger.daemon.starts import vm_paths
from banger.errors import BangerError, ConflictError
from banger.guest import wire
from banger.model.command import Operation

#: Seconds for a guest to start its terminal on the console; a young one has no systemd to ask yet.
_SHELL_SECONDS = 60.0
_START_SHELL = """
command -v systemctl >/dev/null || exit 0
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    systemctl start --no-block serial-getty@ttyS0.service 2>/dev/null && exit 0
    sleep 1
done
"""


async def open_console(op: OperationContext, params: VmParams) -> StreamToken:
    """Prepare the stream of a VM's serial console; with an agent that answers, ask for a shell on it."""
    services, vm = op.services, running_vm(op, params.vm)
    vmm, paths = services.registries.vmms.get(vm.spec.vmm), vm_paths(op.services, vm)
    if vmm is None or vmm.console is None:
        raise ConflictError(
            f"'{vm.name}' has no console to type at: vmm '{vm.spec.vmm}' offers none",
            hint=f"banger vm logs -f {vm.name}",
        )
    path = vmm.console(paths.sockets)
    shell = asyncio.create_task(_ask_for_shell(services, vm.id, paths.channel))
    services.background.add(shell)
    shell.add_done_callback(services.background.discard)
    token = services.streams.issue(
        "vm.console", vm.id, lambda: open_serial(path, services.seats, vm.id, vm.name)
    )
    return StreamToken(token=token, socket=str(services.paths.stream_socket), vm=vm.name)


async def _ask_for_shell(services: Services, vm_id: str, channel: Path) -> None:
    """Have systemd start its terminal on the serial line; a guest without one, or without an agent, has only output."""
    argv = ["/bin/sh", "-c", _START_SHELL]
    with contextlib.suppress(BangerError, TimeoutError):
        async with asyncio.timeout(_SHELL_SECONDS):
            stream = await services.guests.open(
                vm_id, channel, "exec", argv=argv, env={}, tty=False, user="root"
            )
            try:
                while (await stream.read_frame()).type not in wire.FINAL:
                    pass
            finally:
                await stream.close()


OPERATIONS = [
    Operation("vm.console.open", "prepare the stream of a VM's console", VmParams, StreamToken, open_console),
]
