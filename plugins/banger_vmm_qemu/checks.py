"""What doctor and preflight look at for QEMU."""

from __future__ import annotations

from banger.api import Check, CheckResult, CheckStatus, Commands, probe_kvm
from banger_vmm_qemu.probe import probe


def check_qemu(commands: Commands) -> CheckResult:
    """The program is there and runs."""
    found = probe(commands, "tcg")
    if not found.usable:
        return CheckResult(CheckStatus.FAIL, found.reason or "not usable", found.hint)
    return CheckResult(CheckStatus.PASS, f"version {found.version}")


def check_kvm(_: Commands) -> CheckResult:
    """KVM works for guests; without it software emulation serves, slower."""
    kvm = probe_kvm()
    if kvm.usable:
        return CheckResult(CheckStatus.PASS, "usable")
    hint = kvm.hint or "nothing to do: VMs run under software emulation, slower"
    return CheckResult(CheckStatus.WARN, f"{kvm.reason}; software emulation serves meanwhile, slower", hint)


def check_clock(_: Commands) -> CheckResult:
    """The TSC can be measured, so that the fast machine type boots reliably under software emulation."""
    from banger_vmm_qemu.tsc import measure_tsc_khz

    khz = measure_tsc_khz()
    if khz is None:
        return CheckResult(
            CheckStatus.PASS, "no constant TSC: machine type q35, about 0.4 s slower to boot than microvm"
        )
    return CheckResult(CheckStatus.PASS, f"TSC at {khz / 1e6:.3f} GHz")


CHECKS = (Check("qemu", check_qemu), Check("kvm", check_kvm), Check("tsc", check_clock))
