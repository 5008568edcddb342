"""A third party's plugin for tests: QEMU with one thing wrong, or with the other machine type."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

from banger.api import LaunchPlan, LaunchSpec, Vmm, VmmProbe, hookimpl


@hookimpl
def banger_register_vmms() -> list[Vmm]:
    """Declare the odd ones."""
    import banger_vmm_qemu

    (qemu,) = banger_vmm_qemu.banger_register_vmms()
    no_disks = tuple(name for name in qemu.guest_modules if name != "virtio_blk")
    return [
        replace(qemu, name="q35", priority=91, build=_build_q35),
        replace(qemu, name="no-disks", priority=92, guest_modules=no_disks),
        replace(qemu, name="no-init", priority=93, build=_build_without_init),
        replace(qemu, name="no-kernel", priority=94, build=_build_without_kernel),
    ]


def _build_q35(spec: LaunchSpec, probe: VmmProbe) -> LaunchPlan:
    from banger_vmm_qemu import machine

    with mock.patch.object(machine, "measure_tsc_khz", return_value=None):
        return machine.build(spec, probe)


def _build_without_init(spec: LaunchSpec, probe: VmmProbe) -> LaunchPlan:
    from banger_vmm_qemu import machine

    plan = machine.build(spec, probe)
    words = [f"{word} rdinit=/nothing" if word.startswith("console=") else word for word in plan.argv]
    return replace(plan, argv=tuple(words))


def _build_without_kernel(spec: LaunchSpec, probe: VmmProbe) -> LaunchPlan:
    from banger_vmm_qemu import machine

    damaged = spec.directory / "damaged"
    damaged.write_bytes(b"no kernel at all\n" * 1000)
    return machine.build(replace(spec, kernel=damaged), probe)
