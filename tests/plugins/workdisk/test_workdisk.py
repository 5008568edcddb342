from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

import banger_workdisk
from banger.errors import HostError
from banger.host.disk import HostDisks
from banger.start.step import StartStep
from banger.testing.pytest_plugin import PlanFor
from banger.testing.samples import sample_id, sample_vm
from banger.testing.start import FakeStart, FakeStepContext
from banger.testing.step_contract import MakeStart, StartStepContract
from banger_workdisk import disk

[CAPABILITY] = banger_workdisk.banger_register_capabilities()
[STEP] = CAPABILITY.steps


class TestWorkDiskStep(StartStepContract):
    """On real disks, filled from a work seed."""

    @pytest.fixture
    def step(self) -> StartStep:
        return STEP

    @pytest.fixture
    def make_start(self, tmp_path: Path) -> MakeStart:
        return lambda name="one", fail_at=0: FakeStart(tmp_path / name, fail_at=fail_at)

    def prepare(self, start: FakeStart) -> None:
        seed = start.paths.image_dir / "work-seed"
        seed.mkdir(exist_ok=True)
        (seed / ".profile").write_text("export A=1\n")

    def vm_resources(self, start: FakeStart) -> list[str]:
        return [path.name for path in start.paths.directory.iterdir() if path.name != "handles.json"]


def made(start: FakeStart) -> Path:
    start.run(STEP)
    return start.paths.directory / "work.ext4"


def test_disk_is_as_big_as_asked_for_and_sparse(tmp_path: Path) -> None:
    path = made(FakeStart(tmp_path, vm=sample_vm(spec={"disk_mib": 512})))
    assert path.stat().st_size == 512 * 1024**2
    assert path.stat().st_blocks * 512 < 8 * 1024**2
    assert path.stat().st_mode & 0o777 == 0o600


def test_disk_holds_the_images_work_seed(tmp_path: Path) -> None:
    start = FakeStart(tmp_path)
    (start.paths.image_dir / "work-seed").mkdir()
    (start.paths.image_dir / "work-seed" / ".profile").write_text("export A=1\n")
    assert HostDisks(start.commands).read_file(made(start), "/.profile") == b"export A=1\n"


def test_disk_begins_as_the_file_system_that_the_image_has(tmp_path: Path) -> None:
    start = FakeStart(tmp_path)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "notes").write_text("kept")
    seed = start.paths.image_dir / "work-seed.ext4"
    disks = HostDisks(start.commands)
    disks.make_ext4(seed, 32, uuid=str(uuid.UUID(int=7)), label="w", content=tree)
    path = made(start)
    assert disks.read_file(path, "/notes") == b"kept"
    assert path.stat().st_size == start.vm.spec.disk_mib << 20
    handles = start.handles()
    ctx: Any = FakeStepContext(start, handles, handles.enter("x", "p", "r", keep=False))
    assert disk.guest_config(ctx, {}).mounts[0].uuid == str(uuid.UUID(int=7))


def test_disk_too_small_for_what_the_image_begins_with_is_refused(tmp_path: Path) -> None:
    start = FakeStart(tmp_path)
    seed = start.paths.image_dir / "work-seed.ext4"
    HostDisks(start.commands).make_ext4(seed, 65, uuid=str(uuid.UUID(int=7)), label="w")
    with pytest.raises(HostError, match="64 MiB does not hold") as caught:
        made(start)
    assert caught.value.hint == "--disk-size 65M, or more"


def test_image_without_a_work_seed_gives_an_empty_disk(tmp_path: Path) -> None:
    start = FakeStart(tmp_path)
    path = made(start)
    with pytest.raises(HostError, match="there is no /.profile"):
        HostDisks(start.commands).read_file(path, "/.profile")


def test_second_start_keeps_what_is_on_the_disk(tmp_path: Path) -> None:
    start = FakeStart(tmp_path)
    path = made(start)
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.write(b"what the guest wrote")
    start.undo(STEP)
    start.run(STEP)
    with open(path, "rb") as file:
        assert file.read(20) == b"what the guest wrote"
    assert path.stat().st_size == size


def test_a_larger_size_is_taken_up_at_the_next_start(tmp_path: Path) -> None:
    start = FakeStart(tmp_path)
    path = made(start)
    size = path.stat().st_size
    start.undo(STEP)
    start.vm = start.vm.model_copy(
        update={"spec": start.vm.spec.model_copy(update={"disk_mib": start.vm.spec.disk_mib + 64})}
    )
    start.run(STEP)
    assert path.stat().st_size == size + 64 * 2**20


def test_guest_finds_the_disk_by_the_uuid_that_it_has(tmp_path: Path) -> None:
    start = FakeStart(tmp_path)
    path = made(start)
    handles = start.handles()
    ctx: Any = FakeStepContext(start, handles, handles.enter("x", "p", "r", keep=False))
    [mount] = disk.guest_config(ctx, {}).mounts
    assert (mount.target, mount.fstype) == ("/root", "ext4")
    assert mount.uuid == HostDisks(start.commands).read_uuid(path)
    [drive] = disk.drives(ctx, {})
    assert (drive.path, drive.format, drive.readonly) == (path, "raw", False)


def test_every_vm_has_a_uuid_of_its_own_that_never_changes() -> None:
    uuids = {disk.work_uuid(sample_id(str(number))) for number in range(100)}
    assert len(uuids) == 100 and all(uuid.UUID(text) for text in uuids)
    assert disk.work_uuid("0" * 32) == disk.work_uuid("0" * 32)


def test_it_is_on_unless_it_is_turned_off_and_made_before_the_disks_are_ready(plan_for: PlanFor) -> None:
    assert CAPABILITY.default is True
    on, off = plan_for("workdisk", builtin=["core", "workdisk"]), plan_for(builtin=["core", "workdisk"])
    assert set(on) - set(off) == {"work-disk"}
    assert on.index("work-disk") < on.index("network")
