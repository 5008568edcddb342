"""QEMU as the virtual machine monitor: under KVM where that truly works, else under software emulation."""

from __future__ import annotations

from banger.api import Vmm, VmmFeatures, hookimpl


@hookimpl
def banger_register_settings() -> list[str]:
    """Declare ``[plugins.vmm-qemu]``."""
    return ["banger_vmm_qemu.settings:Settings"]


@hookimpl
def banger_register_vmms() -> list[Vmm]:
    """Declare QEMU."""
    from banger_vmm_qemu import balloon, machine, process, qmp
    from banger_vmm_qemu.checks import CHECKS
    from banger_vmm_qemu.probe import probe

    return [
        Vmm(
            name="qemu",
            summary="QEMU: every host, no privileges; KVM where it works, else software emulation",
            features=VmmFeatures(
                attachments=frozenset({"qemu-user", "tap"}),
                disk_formats=frozenset({"raw", "qcow2"}),
                guest_channel="virtio-serial",
            ),
            priority=50,
            guest_modules=machine.GUEST_MODULES,
            probe=probe,
            build=machine.build,
            launch=process.launch,
            find_process=process.find,
            kill=process.kill,
            checks=CHECKS,
            status=qmp.status,
            watch=qmp.watch,
            pause=qmp.pause,
            resume=qmp.resume,
            memory=balloon.memory,
            set_memory=balloon.set_memory,
            close_port=qmp.close_port,
            console=machine.console_socket,
        )
    ]
