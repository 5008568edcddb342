"""VMs on paper: a VMM that runs nothing and a network that attaches nothing."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from banger.model.network import GuestInterface, NetworkMode, QemuUser, Tap
from banger.model.vmm import LaunchPlan, Vmm, VmmFeatures, VmmProbe
from banger.testing.plugin_sets import make_plugin


def make_vmm(
    name: str = "paper",
    *,
    attachments: frozenset[str] = frozenset({"qemu-user"}),
    probe: VmmProbe | None = None,
    priority: int = 10,
    **members: Any,
) -> Vmm:
    """Return a VMM that runs nothing."""
    values: dict[str, Any] = {
        "guest_modules": (),
        "build": lambda spec, probe: LaunchPlan((name,), probe.accelerator, "paper"),
        "launch": lambda ctx, spec, plan: None,
        "find_process": lambda section, vm_id: None,
        "kill": lambda ctx: None,
    }
    found = probe or VmmProbe(True, "1", "tcg")
    features = VmmFeatures(attachments, frozenset({"raw", "qcow2"}), "virtio-serial")
    return Vmm(
        name, "on paper", features, priority, probe=lambda commands, accel: found, **{**values, **members}
    )


def make_network(name: str = "user", attachment: str = "qemu-user", **members: Any) -> NetworkMode:
    """Return a network mode that attaches nothing."""
    interface = GuestInterface("02:00:00:00:00:01", "10.0.2.15/24")
    made = QemuUser(interface) if attachment == "qemu-user" else Tap(interface, "tap0")
    return NetworkMode(name, "on paper", attachment, lambda ctx: made, lambda ctx: None, **members)


def make_lab(*, vmms: list[Vmm] | None = None, networks: list[NetworkMode] | None = None) -> ModuleType:
    """Return a plugin with a VMM and a network on paper."""

    def banger_register_vmms() -> list[Vmm]:
        return [make_vmm()] if vmms is None else vmms

    def banger_register_networks() -> list[NetworkMode]:
        return [make_network()] if networks is None else networks

    return make_plugin("lab", banger_register_vmms, banger_register_networks)


#: Configuration that needs no flag and fits on every host.
CONFIG = '[defaults]\nimage = "test-image"\nkernel = "test-kernel"\nmemory = 128\n'
