"""Jails with real mounts and real processes, root's; only jailer is on paper."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from banger.errors import ConflictError, HostError
from banger.helper import jail
from banger.helper.process import process_start_time
from banger.helper.requests import LaunchJail, RemoveJail, ShowJail, SignalJail
from tests.rings import IN_USER_NAMESPACE

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(IN_USER_NAMESPACE, reason="needs the host's own root: devices, and files given away"),
]
VM, OTHER = "0123456789abcdef" * 2, "f" * 32
OWNER = 65534


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of the owner's with what a VM has, and beside it jails and programs of root's."""
    programs, place = tmp_path / "programs", tmp_path / "state"
    programs.mkdir()
    (programs / "firecracker").touch(0o755)
    paper = Path(__file__).with_name("paper_jailer.py").read_text()
    (programs / "jailer").write_text(f"#!/usr/bin/python3 -IS\n{paper}")
    (programs / "jailer").chmod(0o755)
    monkeypatch.setenv("BANGER_FIRECRACKER", str(programs / "firecracker"))
    monkeypatch.delenv("BANGER_JAILER", raising=False)
    monkeypatch.setattr(jail, "_BASE", tmp_path / "jails")
    (place / "s").mkdir(parents=True)
    for name in ("kernel", "initrd", "disk", "console", "log"):
        (place / name).write_text(f"the {name}")
    for path in (place, *place.iterdir()):
        os.chown(path, OWNER, OWNER)
    yield place
    for vm in (VM, OTHER):
        jail.send(SignalJail(vm, "SIGKILL"))
        jail.remove(RemoveJail(vm))


def request(place: Path, vm: str = VM, **changes: Any) -> LaunchJail:
    fields: dict[str, Any] = {
        "read": (f"{place}/kernel", f"{place}/initrd"),
        "written": (f"{place}/disk",),
        "sockets": f"{place}/s",
        "console": f"{place}/console",
        "log": f"{place}/log",
    }
    return LaunchJail(vm, **{**fields, **changes})


def said(place: Path) -> dict[str, Any]:
    """What the program on paper said, which is what the guest prints."""
    text = (place / "console").read_text()
    assert text.startswith("the console")
    found: dict[str, Any] = json.loads(text.removeprefix("the console"))
    return found


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def test_a_jail_has_what_one_vm_needs_and_nothing_of_it_stays(place: Path, tmp_path: Path) -> None:
    before = mounts()
    launched = jail.launch(request(place), OWNER)
    assert process_start_time(launched["pid"]) == launched["start_time"]
    told = said(place)
    assert told["session"] is True and told["input"] == "/dev/null"
    assert {name: told["given"][name] for name in ("--id", "--uid", "--exec-file", "--chroot-base-dir")} == {
        "--id": VM,
        "--uid": str(OWNER),
        "--exec-file": str(tmp_path / "programs/firecracker"),
        "--chroot-base-dir": str(tmp_path / "jails"),
    }
    assert told["after"] == ["--api-sock", f"{place}/s/api", "--log-path", f"{place}/log", "--level", "Warn"]
    assert told["found"] == {
        f"{place}/kernel": ["read", "the kernel", "Read-only file system"],
        f"{place}/initrd": ["read", "the initrd", "Read-only file system"],
        f"{place}/disk": ["written", "the disk", ""],
        f"{place}/log": ["written", "the log", ""],
    }
    assert (place / "disk").read_text() == "the disk and more" and (
        place / "kernel"
    ).read_text() == "the kernel"
    assert (place / "s" / "api").read_text() == "open", "sockets are where the owner looks for them"
    assert mounts() == before, "mounts are the jail's alone"
    with pytest.raises(ConflictError, match="is running in its jail"):
        jail.launch(request(place), OWNER)
    assert jail.send(SignalJail(VM, "SIGTERM")) == {"ended": True}
    assert jail.remove(RemoveJail(VM)) == {"removed": True}
    assert list((tmp_path / "jails").iterdir()) == [] and mounts() == before
    assert (place / "disk").exists()


def test_only_root_enters_where_jails_are(place: Path, tmp_path: Path) -> None:
    (tmp_path / "jails").mkdir(0o777)
    jail.launch(request(place), OWNER)
    info = (tmp_path / "jails").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid) == (0o700, 0)


def test_a_vms_own_device_is_made_in_its_jail(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "mapper"
    os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(7, 250))
    monkeypatch.setattr(jail, "device_of", lambda vm: str(device) if vm == VM else "/dev/mapper/other")
    jail.launch(request(place, written=(str(device),)), OWNER)
    assert said(place)["found"][str(device)] == ["device", os.makedev(7, 250), OWNER]
    with pytest.raises(HostError, match="is no file of the owner's"):
        jail.launch(request(place, OTHER, written=(str(device),)), OWNER)


def test_what_is_not_the_owners_own_is_refused_and_nothing_is_left(place: Path, tmp_path: Path) -> None:
    (place / "link").symlink_to("kernel")
    (place / "way").symlink_to(".")
    (tmp_path / "foreign").write_text("root's")
    before = mounts()
    for changes in (
        {"read": (f"{place}/link",)},
        {"read": (f"{place}/way/kernel",)},
        {"read": (f"{tmp_path}/foreign",)},
        {"written": (f"{place}/s",)},
        {"written": ("/dev/mapper/banger-" + OTHER,)},
        {"written": ("/dev/null",)},
        {"sockets": f"{place}/way"},
        {"sockets": f"{place}/kernel"},
        {"sockets": str(tmp_path)},
        {"console": f"{place}/link"},
        {"log": f"{tmp_path}/foreign"},
        {"log": f"{place}/none"},
    ):
        with pytest.raises(HostError):
            jail.launch(request(place, **changes), OWNER)
        assert list((tmp_path / "jails").rglob("*")) == [], changes
    assert mounts() == before and (place / "console").read_text() == "the console"


def test_a_jailer_that_ends_at_once_says_why(place: Path, tmp_path: Path) -> None:
    (tmp_path / "programs/jailer.fails").touch()
    with pytest.raises(HostError, match="jailer ended at once: the logError: this is why"):
        jail.launch(request(place), OWNER)
    assert list((tmp_path / "jails").iterdir()) == []


def test_a_jail_whose_process_ended_goes_with_the_next_launch(place: Path, tmp_path: Path) -> None:
    launched = jail.launch(request(place), OWNER)
    os.kill(launched["pid"], 9)
    os.waitpid(launched["pid"], 0)
    (place / "s" / "api").unlink()
    jail.launch(request(place, OTHER), OWNER)
    assert [path.name for path in (tmp_path / "jails").glob("*/*")] == [OTHER]


def test_it_says_what_it_would_launch_or_why_not(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    shown = {"firecracker": str(programs / "firecracker"), "jailer": str(programs / "jailer")}
    plain = SimpleNamespace(f_flag=0)  # whatever the test's own directory is mounted with
    monkeypatch.setattr(jail.os, "statvfs", lambda _: plain)
    assert jail.show(ShowJail()) == shown
    for flag in (os.ST_NODEV, os.ST_NOEXEC):
        plain.f_flag = flag
        with pytest.raises(HostError, match="mounted nodev or noexec"):
            jail.show(ShowJail())
    plain.f_flag = 0
    assert list((tmp_path / "jails").iterdir()) == []
    (programs / "jailer").chmod(0o777)
    with pytest.raises(HostError, match="can be changed by others"):
        jail.show(ShowJail())
    (programs / "jailer").chmod(0o755)
    monkeypatch.setattr(jail, "_BASE", Path("/proc/self/attr/jails"))
    with pytest.raises(HostError):
        jail.show(ShowJail())
