"""A VM as Firecracker wants to be told of it. Pure: nothing is touched."""

from __future__ import annotations

import os
from pathlib import Path

from banger.api import LaunchPlan, LaunchSpec, Tap, VmmError, VmmProbe
from banger_vmm_firecracker.api import api_socket
from banger_vmm_firecracker.model import (
    BlockDevice,
    BootSource,
    Machine,
    MachineConfig,
    Metrics,
    NetworkInterface,
    Vsock,
)
from banger_vmm_firecracker.probe import PROGRAM

GUEST_MODULES = ("virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng", "vmw_vsock_virtio_transport")

#: reboot=k: a guest ends by a reset through the keyboard controller, the only way out of this machine; the agent is
#: told so. The i8042 words keep the kernel from looking for a keyboard there, which takes it 0.3 s; swiotlb=noforce
#: saves 64 MiB that only machines with more than 4 GiB and old devices need.
_KERNEL_ARGUMENTS = (
    "console=ttyS0",
    "quiet",
    "panic=-1",
    "reboot=k",
    "banger.end=reset",
    "8250.nr_uarts=1",
    "i8042.noaux",
    "i8042.nomux",
    "i8042.nopnp",
    "i8042.dumbkbd",
    "swiotlb=noforce",
    "cryptomgr.notests",
    "cloud-init=disabled",
)
#: The guest's own vsock address: any from 3 on. Each VM's vsock is its own Unix socket, so all may have the same.
_GUEST_CID = 3
#: Processors of a machine (Firecracker's ``MAX_SUPPORTED_VCPUS``).
_VCPU_MAX = 32


def build(spec: LaunchSpec, probe: VmmProbe) -> LaunchPlan:
    """Return the command line of a VM. What kind of machine it is, its API is told by :func:`describe`."""
    if spec.vcpu > _VCPU_MAX:
        raise VmmError(
            f"firecracker gives a VM {_VCPU_MAX} processors at most, not {spec.vcpu}",
            hint=f"--vcpu {_VCPU_MAX}, or --vmm qemu",
        )
    argv = (PROGRAM, "--id", spec.vm_id, "--api-sock", os.fspath(api_socket(spec.sockets)))
    return LaunchPlan(
        (*argv, "--log-path", os.fspath(log_file(spec.directory)), "--level", "Warn"), "kvm", "mmio"
    )


def log_file(directory: Path) -> Path:
    """Return what Firecracker writes its own words to."""
    return directory / "firecracker.log"


def vsock_socket(sockets: Path) -> Path:
    """Return the Unix socket behind which the guest's vsock ports are."""
    return sockets / "vsock"


def metrics_file(directory: Path) -> Path:
    """Return what Firecracker writes its metrics to."""
    return directory / "metrics.json"


def describe(spec: LaunchSpec, kernel: Path) -> Machine:
    """Return the machine for a spec.

    :param kernel: the ELF one.
    """
    foreign = [drive.name for drive in spec.drives if drive.format != "raw"]
    if foreign:
        raise VmmError(
            f"firecracker reads raw disks only, and {', '.join(foreign)} is none",
            hint="the VM was made for another VMM: --vmm qemu",
        )
    return Machine(
        machine=MachineConfig(vcpu_count=spec.vcpu, mem_size_mib=spec.memory_mib),
        boot=BootSource(
            kernel_image_path=os.fspath(kernel),
            initrd_path=os.fspath(spec.initrd),
            boot_args=" ".join(_KERNEL_ARGUMENTS),
        ),
        drives=tuple(
            BlockDevice(
                drive_id=drive.name.replace("-", "_"),
                path_on_host=os.fspath(drive.path),
                is_read_only=drive.readonly,
            )
            for drive in spec.drives
        ),
        networks=_networks(spec),
        vsock=Vsock(guest_cid=_GUEST_CID, uds_path=os.fspath(vsock_socket(spec.sockets))),
        metrics=Metrics(metrics_path=os.fspath(metrics_file(spec.directory))),
    )


def _networks(spec: LaunchSpec) -> tuple[NetworkInterface, ...]:
    attachment = spec.attachment
    if attachment is None:
        return ()
    if not isinstance(attachment, Tap):
        raise VmmError(
            f"firecracker takes taps only, not {attachment.kind}", hint="--net bridge, or --vmm qemu"
        )
    mac = attachment.interface.mac
    return (NetworkInterface(iface_id="net0", host_dev_name=attachment.device, guest_mac=mac),)
