"""The core's own steps, held to the contract that every plugin's steps are held to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from banger.errors import HostError, PluginError
from banger.model.capability import Capability, GuestConfig, GuestMount
from banger.model.check import Check, CheckResult, CheckStatus
from banger.model.network import GuestInterface, NetworkMode, QemuUser
from banger.start import root_disk
from banger.start.root_disk import root_drive
from banger.start.spine import SPINE, check_host, guest_config, identify_guest
from banger.start.step import StartStep
from banger.testing.fakes import FakeCommands
from banger.testing.privileged import FakePrivileged
from banger.testing.pytest_plugin import FakeHost, PlanFor
from banger.testing.start import FakeStart, FakeStepContext
from banger.testing.step_contract import MakeStart, StartStepContract

STEPS = {step.name: step for step in SPINE}


def reads(*formats: str, jailed: bool = False) -> Any:
    """A VMM that reads disks of these formats."""
    features = SimpleNamespace(disk_formats=frozenset(formats), jailed=jailed)
    return SimpleNamespace(name="v", features=features)


def test_the_core_plan_is_the_one_in_the_architecture(plan_for: PlanFor) -> None:
    assert plan_for(builtin=["core"]) == ["check-host", "root-disk", "network", "boot", "guest", "lend"]


def test_plan_shows_owners_and_where_a_capability_fits_in(plan_for: PlanFor) -> None:
    assert plan_for("workdisk", builtin=["core", "workdisk"], owners=True) == [
        "check-host (core)",
        "root-disk (core)",
        "work-disk (workdisk)",
        "network (core)",
        "boot (core)",
        "guest (core)",
        "lend (core)",
    ]


class TestRootDisk(StartStepContract):
    @pytest.fixture
    def step(self) -> StartStep:
        return STEPS["root-disk"]

    @pytest.fixture
    def make_start(self, tmp_path: Path, fake_host: FakeHost) -> MakeStart:
        def make(name: str = "one", fail_at: int = 0) -> FakeStart:
            host = {"commands": fake_host.commands, "disks": fake_host.disks}
            return FakeStart(tmp_path / name, **host, vmm=reads(*self.formats), fail_at=fail_at)

        return make

    formats: tuple[str, ...] = ("raw", "qcow2")

    def prepare(self, start: FakeStart) -> None:
        start.paths.rootfs.write_bytes(b"")

    def vm_resources(self, start: FakeStart) -> list[str]:
        return [path.name for path in start.paths.directory.glob("root.*")]


class TestRawRootDisk(TestRootDisk):
    """Of a VMM that reads nothing else."""

    formats = ("raw",)

    @pytest.fixture(autouse=True)
    def unmapped(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(root_disk, "_MAPPER", tmp_path)


class TestMappedRootDisk(TestRootDisk):
    """Where the device-mapper can be asked."""

    formats = ("raw",)

    @pytest.fixture(autouse=True)
    def mapped(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(root_disk, "_MAPPER", tmp_path)
        monkeypatch.setattr(FakeCommands, "find", lambda *_: "/sbin/dmsetup")
        (tmp_path / "control").touch()

    def run_resources(self, start: FakeStart) -> list[str]:
        fake = start.privileged
        assert isinstance(fake, FakePrivileged)
        return list(fake.disks)


def test_a_snapshots_device_is_the_vms_by_name_and_made_at_each_start(
    tmp_path: Path, fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_disk, "_MAPPER", tmp_path)
    monkeypatch.setattr(FakeCommands, "find", lambda *_: "/sbin/dmsetup")
    (tmp_path / "control").touch()
    start = FakeStart(tmp_path, commands=fake_host.commands, disks=fake_host.disks, vmm=reads("raw"))
    fake = start.privileged
    assert isinstance(fake, FakePrivileged)
    start.paths.rootfs.write_bytes(bytes(8192))
    start.run(STEPS["root-disk"])
    assert start.section(STEPS["root-disk"])["format"] == "snapshot"
    drive = root_drive(context(start, "boot"))
    assert (drive.path, drive.format) == (tmp_path / f"banger-{start.vm.id}", "raw")
    start.undo(STEPS["root-disk"])
    assert fake.disks == {} and (start.paths.directory / "root.changes").exists()
    start.run(STEPS["root-disk"])
    assert list(fake.disks) == [start.vm.id]
    remove = STEPS["root-disk"].remove
    assert remove is not None
    remove(start.undo_context({}))  # handles lost
    assert fake.disks == {} and not list(start.paths.directory.glob("root.*"))


@pytest.mark.parametrize(("jailed", "kind"), [(False, "raw"), (True, "snapshot")])
def test_a_helpers_device_is_roots_so_it_is_for_what_the_helper_launches(
    tmp_path: Path, fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch, jailed: bool, kind: str
) -> None:
    monkeypatch.setattr(root_disk, "_MAPPER", tmp_path)
    monkeypatch.setattr(FakeCommands, "find", lambda *_: "/sbin/dmsetup")
    (tmp_path / "control").touch()
    host = {"commands": fake_host.commands, "disks": fake_host.disks}
    start = FakeStart(tmp_path, **host, vmm=reads("raw", jailed=jailed), privileged=FakePrivileged("helper"))
    start.paths.rootfs.write_bytes(bytes(8192))
    start.run(STEPS["root-disk"])
    assert start.section(STEPS["root-disk"])["format"] == kind


def test_a_raw_root_disk_is_a_copy_as_large_as_the_guest_is_to_see_it(
    tmp_path: Path, fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = FakeStart(tmp_path, commands=fake_host.commands, disks=fake_host.disks, vmm=reads("raw"))
    monkeypatch.setattr(root_disk, "_MAPPER", tmp_path)
    start.paths.rootfs.write_bytes(b"the image" + bytes(8192))
    start.run(STEPS["root-disk"])
    copy = start.paths.directory / "root.raw"
    assert copy.read_bytes()[:9] == b"the image"
    assert start.section(STEPS["root-disk"])["format"] == "raw"
    copy.write_bytes(b"what the guest wrote")
    start.vmm = reads("raw", "qcow2")
    start.run(STEPS["root-disk"])
    assert copy.read_bytes() == b"what the guest wrote"
    assert root_drive(context(start, "boot")).path == copy


def test_a_root_disk_that_another_vmm_made_is_refused_where_it_cannot_be_read(
    tmp_path: Path, fake_host: FakeHost
) -> None:
    start = FakeStart(tmp_path, commands=fake_host.commands, disks=fake_host.disks, vmm=reads("qcow2"))
    start.paths.rootfs.write_bytes(b"")
    start.run(STEPS["root-disk"])
    start.vmm = reads("raw")
    with pytest.raises(HostError, match="is qcow2, which v does not read"):
        start.run(STEPS["root-disk"])


class TestNetwork(StartStepContract):
    """A network mode that holds a file while the VM runs."""

    @pytest.fixture
    def step(self) -> StartStep:
        return STEPS["network"]

    @pytest.fixture
    def make_start(self, tmp_path: Path) -> MakeStart:
        def prepare(ctx: Any) -> QemuUser:
            ctx.record("lease", "lease")
            (ctx.paths.sockets / "lease").write_text("")
            return QemuUser(GuestInterface("02:00:00:00:00:01", "10.0.2.15/24"))

        def release(ctx: Any) -> None:
            (ctx.paths.sockets / "lease").unlink(missing_ok=True)

        mode = NetworkMode("held", "for tests", "qemu-user", prepare, release)
        return lambda name="one", fail_at=0: FakeStart(tmp_path / name, network=mode, fail_at=fail_at)

    def run_resources(self, start: FakeStart) -> list[str]:
        return [path.name for path in start.paths.sockets.iterdir()]


def test_second_start_keeps_the_root_disk_it_has(tmp_path: Path, fake_host: FakeHost) -> None:
    start = FakeStart(tmp_path, commands=fake_host.commands, disks=fake_host.disks, vmm=reads("qcow2"))
    start.paths.rootfs.write_bytes(b"")
    start.run(STEPS["root-disk"])
    (tmp_path / "vm" / "root.qcow2").write_bytes(b"what the guest wrote")
    start.undo(STEPS["root-disk"])
    start.run(STEPS["root-disk"])
    assert (tmp_path / "vm" / "root.qcow2").read_bytes() == b"what the guest wrote"
    assert len([line for line in fake_host.commands.lines if line.startswith("qemu-img create")]) == 1


def context(start: FakeStart, step: str = "check-host") -> Any:
    handles = start.handles()
    return FakeStepContext(start, handles, handles.enter(step, "core", "r", keep=False))


def check(name: str, status: CheckStatus) -> Check:
    return Check(name, lambda _: CheckResult(status, f"{name} says {status}", "mend it"))


@pytest.mark.parametrize("where", ["vmm", "network", "capability"])
def test_failing_check_of_what_the_vm_uses_refuses_the_start(tmp_path: Path, where: str) -> None:
    checks = dict.fromkeys(("vmm", "network", "capability"), ()) | {where: (check("x", CheckStatus.FAIL),)}
    start = FakeStart(
        tmp_path,
        vmm=SimpleNamespace(name="v", checks=checks["vmm"]),  # type: ignore[arg-type]
        network=SimpleNamespace(name="n", checks=checks["network"]),  # type: ignore[arg-type]
        capabilities=[(Capability("c", "", checks=checks["capability"]), {})],
    )
    with pytest.raises(HostError, match="x: x says FAIL") as caught:
        check_host(context(start))
    assert caught.value.hint == "mend it"


def test_warning_does_not_refuse_the_start(tmp_path: Path) -> None:
    usable = SimpleNamespace(name="v", checks=(check("x", CheckStatus.WARN), check("y", CheckStatus.PASS)))
    start = FakeStart(tmp_path, vmm=usable, network=usable)  # type: ignore[arg-type]
    for file in (start.paths.rootfs, start.paths.vmlinuz, start.paths.modules):
        file.touch()
    check_host(context(start))


def test_a_kernel_that_is_gone_refuses_the_start(tmp_path: Path) -> None:
    usable = SimpleNamespace(name="v", checks=())
    start = FakeStart(tmp_path, vmm=usable, network=usable)  # type: ignore[arg-type]
    start.paths.rootfs.touch()
    with pytest.raises(HostError, match="vmlinuz is gone, which 'otter' boots from"):
        check_host(context(start))


def make_guest_start(tmp_path: Path, mounts: Callable[[Any, Any], GuestConfig] | None = None) -> FakeStart:
    vmm: Any = SimpleNamespace(name="v", features=SimpleNamespace(guest_channel="virtio-serial"))
    capability = Capability("work", "", guest_config=mounts)
    start = FakeStart(tmp_path, vmm=vmm, capabilities=[(capability, {"a": "b"})])
    start.attachment = QemuUser(
        GuestInterface("02:00:00:00:00:01", "10.0.2.15/24", "10.0.2.2", ("10.0.2.3",))
    )
    return start


def test_guest_is_told_its_identity_its_disks_and_its_interface(tmp_path: Path) -> None:
    def mounts(ctx: Any, options: Any) -> GuestConfig:
        assert options == {"a": "b"}
        return GuestConfig((GuestMount("some-uuid", "/root"),))

    start = make_guest_start(tmp_path, mounts)
    told = guest_config(context(start))
    assert told["hostname"] == start.vm.name and told["machine_id"] == start.vm.id
    assert told["first_start"] is True
    assert told["root"]["uuid"] == start.image.root_uuid
    assert told["mounts"] == [{"uuid": "some-uuid", "target": "/root", "fstype": "ext4", "options": ""}]
    assert told["network"]["address"] == "10.0.2.15/24" and told["network"]["dns"] == ["10.0.2.3"]


def test_guest_is_identified_with_the_time_and_fresh_randomness_once_it_has_booted(
    tmp_path: Path,
) -> None:
    starts = [make_guest_start(tmp_path / name) for name in ("a", "b")]
    for start in starts:
        identify_guest(context(start, "guest"))
        assert [op for op, _ in start.guest.requests] == ["connect", "wait_ready", "identify"]
    first, second = (start.guest.requests[2][1] for start in starts)
    assert first["clock_ns"] > 1_600_000_000 * 10**9
    assert first["seed"] != second["seed"]


def test_a_root_disk_that_a_cut_off_start_half_made_is_made_anew(tmp_path: Path, fake_host: FakeHost) -> None:
    start = FakeStart(tmp_path, commands=fake_host.commands, disks=fake_host.disks, vmm=reads("qcow2"))
    start.paths.rootfs.write_bytes(b"")
    (start.paths.directory / "root.qcow2").write_bytes(b"half")
    start.run(STEPS["root-disk"])
    assert (start.paths.directory / "root.qcow2").read_bytes() != b"half"


def test_a_root_disk_that_vanished_is_an_error_and_never_a_new_one(
    tmp_path: Path, fake_host: FakeHost
) -> None:
    start = FakeStart(tmp_path, commands=fake_host.commands, disks=fake_host.disks, vmm=reads("qcow2"))
    start.paths.rootfs.write_bytes(b"")
    start.run(STEPS["root-disk"])
    (start.paths.directory / "root.qcow2").unlink()
    with pytest.raises(HostError, match="is gone"):
        start.run(STEPS["root-disk"])


@pytest.mark.parametrize(
    ("step", "section"), [("boot", {"vmm": "vanished"}), ("network", {"mode": "vanished"})]
)
def test_what_an_unloaded_plugin_holds_is_never_taken_for_released(
    tmp_path: Path, step: str, section: dict[str, str]
) -> None:
    start = FakeStart(tmp_path)
    undo = STEPS[step].undo
    assert undo is not None
    with pytest.raises(PluginError, match="'vanished'"):
        undo(start.undo_context(section))
    undo(start.undo_context({}))  # nothing was recorded: there is nothing to release
