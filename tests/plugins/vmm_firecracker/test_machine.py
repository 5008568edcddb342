from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from banger.errors import VmmError
from banger.model.network import GuestInterface, QemuUser, Tap
from banger.model.vmm import Drive, LaunchSpec, VmmProbe
from banger_vmm_firecracker import machine

KVM = VmmProbe(True, "1.15.1", "kvm")
INTERFACE = GuestInterface("02:aa:bb:cc:dd:ee", "172.16.176.2/20")


def make_spec(directory: Path = Path("/state/vms/x"), **changes: Any) -> LaunchSpec:
    values: dict[str, Any] = {
        "vm_id": "0123456789abcdef" * 2,
        "name": "otter",
        "vcpu": 2,
        "memory_mib": 512,
        "accel": "auto",
        "kernel": directory / "vmlinuz",
        "initrd": directory / "initrd",
        "drives": (
            Drive("root", directory / "root.raw"),
            Drive("work-disk", directory / "work.ext4"),
            Drive("modules", directory / "m", readonly=True),
        ),
        "attachment": Tap(INTERFACE, "bgr-01234567", "br-banger", "01234567"),
        "directory": directory,
        "sockets": directory / "s",
        "channel": directory / "s" / "agent",
        "console": directory / "console.log",
    }
    return LaunchSpec(**{**values, **changes})


def test_the_command_line_has_the_vms_id_and_nothing_that_opens_more() -> None:
    plan = machine.build(make_spec(), KVM)
    assert plan.argv[:5] == (
        "firecracker",
        "--id",
        "0123456789abcdef" * 2,
        "--api-sock",
        "/state/vms/x/s/api",
    )
    assert not {"--no-seccomp", "--enable-pci", "--seccomp-filter"} & set(plan.argv)
    assert plan.accelerator == "kvm"


def test_more_processors_than_there_can_be_are_refused() -> None:
    machine.build(make_spec(vcpu=32), KVM)
    with pytest.raises(VmmError, match="32 processors at most, not 33"):
        machine.build(make_spec(vcpu=33), KVM)


def test_a_machine_is_told_in_full() -> None:
    told = dict(machine.describe(make_spec(), Path("/cache/vmlinux")).requests())
    parts = {target: part.model_dump(exclude_none=True) for target, part in told.items()}
    assert parts["/machine-config"] == {"vcpu_count": 2, "mem_size_mib": 512}
    assert parts["/boot-source"]["kernel_image_path"] == "/cache/vmlinux"
    arguments = parts["/boot-source"]["boot_args"].split()
    assert {"reboot=k", "banger.end=reset", "i8042.noaux", "i8042.dumbkbd", "console=ttyS0"} <= set(arguments)
    assert "nomodule" not in arguments, "the guest's own kernel has its drivers in modules"
    assert parts["/drives/root"]["is_read_only"] is False and parts["/drives/modules"]["is_read_only"] is True
    assert parts["/drives/work_disk"]["cache_type"] == "Writeback"
    assert not any(parts[drive]["is_root_device"] for drive in parts if drive.startswith("/drives/"))
    assert parts["/network-interfaces/net0"] == {
        "iface_id": "net0",
        "host_dev_name": "bgr-01234567",
        "guest_mac": "02:aa:bb:cc:dd:ee",
    }
    assert parts["/vsock"]["uds_path"] == "/state/vms/x/s/vsock" and parts["/vsock"]["guest_cid"] >= 3


def test_what_it_cannot_read_or_take_is_refused() -> None:
    foreign = make_spec(drives=(Drive("root", Path("/r"), "qcow2"),))
    with pytest.raises(VmmError, match="reads raw disks only, and root is none"):
        machine.describe(foreign, Path("/k"))
    with pytest.raises(VmmError, match="takes taps only, not qemu-user"):
        machine.describe(make_spec(attachment=QemuUser(INTERFACE)), Path("/k"))
    assert machine.describe(make_spec(attachment=None), Path("/k")).networks == ()
