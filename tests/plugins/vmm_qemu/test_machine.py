from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from banger.model.network import GuestInterface, HostForward, QemuUser, Tap
from banger.model.vmm import Drive, LaunchPlan, LaunchSpec, VmmProbe
from banger_vmm_qemu import machine

TCG, KVM = VmmProbe(True, "8.2", "tcg"), VmmProbe(True, "8.2", "kvm")
INTERFACE = GuestInterface("02:aa:bb:cc:dd:ee", "10.0.2.15/24")


@pytest.fixture(params=[2_400_000])
def khz(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """The TSC as the host has it: measured, or None where it cannot be."""
    monkeypatch.setattr(machine, "measure_tsc_khz", lambda: request.param)
    return request.param


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
            Drive("root", directory / "root.qcow2", "qcow2"),
            Drive("modules", directory / "m", readonly=True),
        ),
        "attachment": QemuUser(INTERFACE, (HostForward("127.64.1.2", 20080, 80),)),
        "directory": directory,
        "sockets": directory / "s",
        "channel": directory / "s" / "agent",
        "console": directory / "console.log",
    }
    return LaunchSpec(**{**values, **changes})


def options(plan: LaunchPlan, name: str) -> list[str]:
    """Return the values of an option, in order."""
    return [plan.argv[at + 1] for at, word in enumerate(plan.argv) if word == name]


def test_with_kvm_it_is_a_microvm_on_the_hosts_processor(khz: int) -> None:
    plan = machine.build(make_spec(), KVM)
    assert (plan.machine, plan.accelerator) == ("microvm", "kvm")
    assert options(plan, "-machine")[0].startswith("microvm")
    assert (options(plan, "-accel"), options(plan, "-cpu")) == (["kvm"], ["host"])
    assert "tsc_early_khz" not in options(plan, "-append")[0], "under KVM the guest asks the host"


def test_without_kvm_it_is_a_microvm_that_is_told_its_tsc_frequency(khz: int) -> None:
    """Without that about one boot in ten hangs for ever."""
    plan = machine.build(make_spec(), TCG)
    assert (plan.machine, plan.accelerator) == ("microvm", "tcg")
    assert {f"tsc_early_khz={khz}", "tsc=reliable"} < set(options(plan, "-append")[0].split())
    assert options(plan, "-accel") == ["tcg,thread=multi"]


@pytest.mark.parametrize("khz", [None], indirect=True)
def test_without_kvm_and_a_measurable_tsc_it_is_a_q35(khz: None) -> None:
    plan = machine.build(make_spec(), TCG)
    assert plan.machine == "q35" and options(plan, "-machine") == ["q35"]
    assert "tsc_early_khz" not in options(plan, "-append")[0]


@pytest.mark.parametrize("khz", [None], indirect=True)
def test_devices_are_on_the_bus_the_machine_has(khz: None) -> None:
    def devices(plan: LaunchPlan) -> set[str]:
        return {value.partition(",")[0] for value in options(plan, "-device")} - {"virtserialport"}

    assert devices(machine.build(make_spec(), TCG)) == {
        "virtio-balloon-pci",
        "virtio-rng-pci",
        "virtio-serial-pci",
        "virtio-blk-pci",
        "virtio-net-pci",
    }
    assert all(name.endswith("-device") for name in devices(machine.build(make_spec(), KVM)))


def test_command_line_names_the_vm_and_its_id(khz: int) -> None:
    plan = machine.build(make_spec(), KVM)
    assert options(plan, "-name") == ["guest=banger-otter"]
    assert options(plan, "-uuid") == ["01234567-89ab-cdef-0123-456789abcdef"]
    assert (options(plan, "-smp"), options(plan, "-m")) == (["2"], ["512M"])


def test_nothing_of_the_users_or_of_qemus_defaults_gets_in(khz: int) -> None:
    plan = machine.build(make_spec(), KVM)
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} <= set(plan.argv)
    sandbox = options(plan, "-sandbox")[0].split(",")
    assert sandbox[0] == "on" and "spawn=deny" in sandbox and "elevateprivileges=deny" in sandbox


def test_disks_are_attached_in_order_with_format_and_access(khz: int) -> None:
    plan = machine.build(make_spec(), KVM)
    nodes = [json.loads(value) for value in options(plan, "-blockdev")]
    assert [(node["node-name"], node["driver"], node["read-only"]) for node in nodes] == [
        ("root", "qcow2", False),
        ("modules", "raw", True),
    ]
    drives = [value for value in options(plan, "-device") if value.startswith("virtio-blk")]
    # a read-only disk offers its guest no way of writing; one that cannot be written on pauses its guest
    assert [value.partition("drive=")[2] for value in drives] == [
        "root,werror=stop,rerror=stop",
        "modules,discard=off,write-zeroes=off",
    ]


AWKWARD = Path("/a b,c,=d/ä 'x\" %s $HOME\n/state")


def test_paths_may_hold_anything(khz: int) -> None:
    plan = machine.build(make_spec(AWKWARD), KVM)
    nodes = [json.loads(value) for value in options(plan, "-blockdev")]
    assert nodes[0]["file"]["filename"] == str(AWKWARD / "root.qcow2")
    assert options(plan, "-kernel") == [str(AWKWARD / "vmlinuz")]
    paths = [value.partition("path=")[2] for value in options(plan, "-chardev")]
    for path, end in zip(
        paths, ("s/console,server", "s/qmp,server", "s/event,server", "s/agent,server"), strict=True
    ):
        assert path.startswith(f"{str(AWKWARD).replace(',', ',,')}/{end}")


def split_option(value: str) -> dict[str, str]:
    """Take an option list apart as QEMU does: a comma written twice is one, and no end."""
    parts = [part.replace("\0", ",") for part in value.replace(",,", "\0").split(",")]
    return dict(part.partition("=")[::2] for part in parts)


def test_qemu_reads_an_awkward_path_as_it_was_meant(khz: int) -> None:
    plan = machine.build(make_spec(AWKWARD), KVM)
    console, qmp, event, agent = (split_option(value) for value in options(plan, "-chardev"))
    assert console["path"] == str(AWKWARD / "s" / "console") and console["wait"] == "off"
    assert console["logfile"] == str(AWKWARD / "console.log") and console["logappend"] == "on"
    assert qmp["path"] == str(AWKWARD / "s" / "qmp") and qmp["server"] == "on"
    assert event["path"] == str(AWKWARD / "s" / "event") and event["wait"] == "off"
    assert agent["path"] == str(AWKWARD / "s" / "agent") and agent["wait"] == "off"


def test_published_ports_are_forwarded_from_the_vms_address(khz: int) -> None:
    netdev = options(machine.build(make_spec(), KVM), "-netdev")[0]
    assert "hostfwd=tcp:127.64.1.2:20080-:80" in netdev.split(",") and "restrict=off" in netdev.split(",")
    device = next(
        v for v in options(machine.build(make_spec(), KVM), "-device") if v.startswith("virtio-net")
    )
    assert device.endswith("mac=02:aa:bb:cc:dd:ee")


def test_restricted_network_is_restricted(khz: int) -> None:
    plan = machine.build(make_spec(attachment=QemuUser(INTERFACE, restrict=True)), KVM)
    assert "restrict=on" in options(plan, "-netdev")[0].split(",")


def test_no_network_means_no_device(khz: int) -> None:
    plan = machine.build(make_spec(attachment=None), KVM)
    assert options(plan, "-netdev") == [] and "virtio-net" not in " ".join(plan.argv)


def test_a_tap_is_opened_as_it_is_and_nothing_is_spawned_for_it(khz: int) -> None:
    plan = machine.build(make_spec(attachment=Tap(INTERFACE, "bgr-0123abcd")), KVM)
    assert options(plan, "-netdev") == ["tap,id=net0,ifname=bgr-0123abcd,script=no,downscript=no"]
    assert f"virtio-net-device,netdev=net0,mac={INTERFACE.mac}" in options(plan, "-device")
    assert "spawn=deny" in options(plan, "-sandbox")[0]


def test_agents_port_has_the_name_the_agent_looks_for(khz: int) -> None:
    ports = [
        value
        for value in options(machine.build(make_spec(), KVM), "-device")
        if value.startswith("virtserial")
    ]
    assert ports == ["virtserialport,chardev=agent,name=org.banger.agent"]


def test_panic_ends_the_process(khz: int) -> None:
    append = options(machine.build(make_spec(), KVM), "-append")[0].split()
    assert {"panic=-1", "reboot=t", "console=ttyS0"} <= set(append)
