"""Firecracker in its jail, which the root helper makes, or this process where it is root."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from banger.api import HostPrivileged, LaunchJail, LaunchSpec, Privileged, RemoveJail, SignalJail, Vm
from banger_vmm_firecracker.machine import log_file, metrics_file

_DEVICES = Path("/dev")


def real(spec: LaunchSpec) -> LaunchSpec:
    """Return a spec whose paths have no links in them: a jail knows each file by that one name."""
    return replace(
        spec,
        initrd=spec.initrd.resolve(),
        drives=tuple(replace(drive, path=_real(drive.path)) for drive in spec.drives),
        directory=spec.directory.resolve(),
        sockets=spec.sockets.resolve(),
        console=spec.console.resolve(),
    )


def _real(disk: Path) -> Path:
    """Return where a disk is; a device keeps the name that says whose it is."""
    return disk if disk.is_relative_to(_DEVICES) else disk.resolve()


def launch(privileged: Privileged, spec: LaunchSpec, kernel: Path) -> tuple[int, int]:
    """Launch Firecracker in a jail with what a VM needs; return its process id and start time.

    :param spec: as :func:`real` returns it.
    """
    read = [kernel, spec.initrd, *(drive.path for drive in spec.drives if drive.readonly)]
    written = [metrics_file(spec.directory), *(drive.path for drive in spec.drives if not drive.readonly)]
    spec.console.touch(0o600)
    launched = privileged.call(
        LaunchJail(
            spec.vm_id,
            read=tuple(map(os.fspath, read)),
            written=tuple(map(os.fspath, written)),
            sockets=os.fspath(spec.sockets),
            console=os.fspath(spec.console),
            log=os.fspath(log_file(spec.directory)),
        )
    )
    return int(launched["pid"]), int(launched["start_time"])


def end(privileged: Privileged, vm_id: str) -> None:
    """End what runs in a VM's jail; one that is not there is no error."""
    privileged.call(SignalJail(vm_id, "SIGKILL"))


def remove(privileged: Privileged, vm_id: str) -> None:
    """Remove a VM's jail; one that is not there is no error."""
    privileged.call(RemoveJail(vm_id))


def forget(vm: Vm) -> None:
    """Remove the jail of a VM that is gone, of which nobody may have known."""
    privileged = HostPrivileged()
    if vm.spec.vmm == "firecracker" and privileged.find() is not None:
        end(privileged, vm.id)
        remove(privileged, vm.id)
