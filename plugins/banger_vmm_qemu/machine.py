"""A VM as a QEMU command line. Paths may hold anything but NUL."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from banger.api import Drive, LaunchPlan, LaunchSpec, Tap, VmmProbe
from banger_vmm_qemu.probe import PROGRAM
from banger_vmm_qemu.tsc import measure_tsc_khz

#: For virtio over MMIO (microvm) and over PCI (q35), so that one archive serves both.
GUEST_MODULES = ("virtio_mmio", "virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng")

#: panic=-1 and reboot=t make a panic end the process at once (-no-reboot).
#: cryptomgr.notests saves the kernel a tenth of its boot: its ciphers were tested where it was built.
_KERNEL_ARGUMENTS = (
    "console=ttyS0",
    "panic=-1",
    "reboot=t",
    "quiet",
    "cloud-init=disabled",
    "cryptomgr.notests",
)

#: Everything QEMU's seccomp filter can shut without breaking software emulation.
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

#: "Enhanced rep movsb" is the fast way to copy and to clear memory on a real processor. Software emulation does it byte
#: by byte: without these, a guest's kernel clears memory 16 times as fast and copies files 3 times as fast.
_SLOW_UNDER_TCG = "-erms,-fsrm"

#: A write that the host cannot do, its disk or the user's quota being full, pauses the guest, which would else lose it.
_STOP = ",werror=stop,rerror=stop"

#: The name by which the guest's agent finds its port.
PORT_NAME = "org.banger.agent"


def build(spec: LaunchSpec, probe: VmmProbe) -> LaunchPlan:
    """Return the command line of a VM."""
    khz = measure_tsc_khz() if probe.accelerator == "tcg" else None
    microvm = probe.accelerator == "kvm" or khz is not None
    bus = "device" if microvm else "pci"
    append = list(_KERNEL_ARGUMENTS)
    if khz is not None:
        append += [f"tsc_early_khz={khz}", "tsc=reliable"]
    argv = [PROGRAM, "-name", f"guest=banger-{spec.name}", "-uuid", str(uuid.UUID(spec.vm_id))]
    argv += ["-machine", "microvm,rtc=on" if microvm else "q35", *_accelerator(probe)]
    argv += ["-smp", str(spec.vcpu), "-m", f"{spec.memory_mib}M"]
    argv += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-sandbox", _SANDBOX]
    argv += [
        "-kernel",
        os.fspath(spec.kernel),
        "-initrd",
        os.fspath(spec.initrd),
        "-append",
        " ".join(append),
    ]
    log = f"logfile={_escape(spec.console)},logappend=on"
    serial = f"socket,id=console,path={_escape(console_socket(spec.sockets))},server=on,wait=off,{log}"
    argv += ["-chardev", serial, "-serial", "chardev:console"]
    argv += ["-chardev", f"socket,id=qmp,path={_escape(spec.sockets / 'qmp')},server=on,wait=off"]
    argv += ["-mon", "chardev=qmp,mode=control"]
    argv += ["-chardev", f"socket,id=event,path={_escape(spec.sockets / 'event')},server=on,wait=off"]
    argv += ["-mon", "chardev=event,mode=control"]
    argv += ["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", f"virtio-rng-{bus},rng=rng"]
    argv += [
        "-device",
        f"virtio-balloon-{bus},id=balloon",
    ]  # the guest's own system loads its driver, or does not
    argv += ["-device", f"virtio-serial-{bus}"]
    argv += ["-chardev", f"socket,id=agent,path={_escape(spec.channel)},server=on,wait=off"]
    argv += ["-device", f"virtserialport,chardev=agent,name={PORT_NAME}"]
    for drive in spec.drives:
        argv += _drive(drive, bus)
    argv += _network(spec, bus)
    return LaunchPlan(tuple(argv), probe.accelerator, "microvm" if microvm else "q35")


def console_socket(sockets: Path) -> Path:
    """Return the socket of a VM's serial console."""
    return sockets / "console"


def _accelerator(probe: VmmProbe) -> list[str]:
    if probe.accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi", "-cpu", f"max,{_SLOW_UNDER_TCG}"]


def _drive(drive: Drive, bus: str) -> list[str]:
    node: dict[str, Any] = {
        "driver": drive.format,
        "node-name": drive.name,
        "read-only": drive.readonly,
        "discard": "unmap",
        "file": {"driver": "file", "filename": os.fspath(drive.path), "discard": "unmap"},
    }
    # QEMU offers both for a read-only disk too, fails what the guest then asks for, and the guest logs errors.
    offers = ",discard=off,write-zeroes=off" if drive.readonly else _STOP
    return ["-blockdev", json.dumps(node), "-device", f"virtio-blk-{bus},drive={drive.name}{offers}"]


def _network(spec: LaunchSpec, bus: str) -> list[str]:
    attachment = spec.attachment
    if attachment is None:
        return []
    device = f"virtio-net-{bus},netdev=net0,mac={attachment.interface.mac}"
    if isinstance(attachment, Tap):
        # No script: the tap is in its bridge already, and the sandbox spawns nothing.
        tap = f"tap,id=net0,ifname={attachment.device},script=no,downscript=no"
        return ["-netdev", tap, "-device", device]
    options = ["user", "id=net0", "ipv6=off", f"restrict={'on' if attachment.restrict else 'off'}"]
    options += [
        f"hostfwd=tcp:{forward.host_address}:{forward.host_port}-:{forward.guest_port}"
        for forward in attachment.forwards
    ]
    return ["-netdev", ",".join(options), "-device", device]


def _escape(path: Path) -> str:
    """Return a path for an option list, where a comma is written twice."""
    return os.fspath(path).replace(",", ",,")
