"""Real builds: minutes, the network, and root or user namespaces."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from banger.errors import CancelledError
from banger.host.command import HostCommands
from banger.model.source import ImageSource, PulledImage
from banger.testing.contracts import (
    ImageSourceContract,
    MakeContext,
    RecordedProgress,
    list_tree,
    remove_tree,
)
from banger_images_debian import banger_register_image_sources, namespace

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


def look(image: Path, request: str) -> str:
    done = HostCommands().run(["debugfs", "-R", request, image], timeout=60)
    return (done.stdout + done.stderr).decode(errors="replace")


def owner_and_mode(image: Path, path: str) -> tuple[int, int, str]:
    said = look(image, f"stat {path}")
    found = re.search(r"Mode: +(\d+).*?User: +(\d+) +Group: +(\d+)", said, re.DOTALL)
    assert found is not None, said
    return int(found[2]), int(found[3]), found[1]


class _Debian(ImageSourceContract):
    cancel_at = "unpacking the base system"

    @pytest.fixture
    def source(self) -> ImageSource:
        return banger_register_image_sources()[0]

    def check_pulled(self, pulled: PulledImage, ctx: RecordedProgress) -> None:
        image = pulled.rootfs
        done = HostCommands().run(["e2fsck", "-fn", image], timeout=60, check=False)
        assert done.status == 0
        check_owners(image)
        check_own_files(image, ctx)
        assert image.stat().st_blocks * 512 < 300 << 20
        assert pulled.kernel_ref == f"debian:{self.reference}"
        assert pulled.work_seed is not None
        assert (pulled.work_seed / ".bashrc").is_file()
        assert (
            f"VERSION_CODENAME={self.reference}" in ctx.disks.read_file(image, "/usr/lib/os-release").decode()
        )
        assert {"fetching packages", "installing packages", "writing the disk"} <= set(ctx.stages)


def check_owners(image: Path) -> None:
    assert owner_and_mode(image, "/") == (0, 0, "0755")
    assert owner_and_mode(image, "/usr/bin/passwd") == (0, 0, "04755")
    assert owner_and_mode(image, "/usr/bin/su") == (0, 0, "04755")
    assert owner_and_mode(image, "/etc/shadow") == (0, 42, "0640")
    assert owner_and_mode(image, "/var/mail") == (0, 8, "02775")
    assert owner_and_mode(image, "/tmp")[2] == "01777"
    assert owner_and_mode(image, "/root") == (0, 0, "0700")


def check_own_files(image: Path, ctx: RecordedProgress) -> None:
    def read(path: str) -> str:
        return ctx.disks.read_file(image, path).decode()

    assert read("/etc/machine-id") == ""
    assert "ssh_host" not in look(image, "ls -l /etc/ssh")
    assert read("/etc/hostname") == "debian\n"
    assert "localhost" in read("/etc/hosts")
    assert read("/etc/resolv.conf") == read("/etc/fstab") == ""
    assert re.search(r"^root:[!*]", read("/etc/shadow"), re.MULTILINE)
    assert 'Fast link dest: "/dev/null"' in look(image, "stat /etc/systemd/system/apt-daily.timer")
    assert "multi-user.target" in look(image, "stat /etc/systemd/system/default.target")
    assert "mmdebstrap" not in look(image, "ls -l /etc/apt/apt.conf.d")
    assert "_Packages" not in look(image, "ls -l /var/lib/apt/lists")


class TestBookworm(_Debian):
    reference = "bookworm"

    def check_pulled(self, pulled: PulledImage, ctx: RecordedProgress) -> None:
        super().check_pulled(pulled, ctx)
        # File capabilities have to survive without root.
        assert "security.capability" in look(pulled.rootfs, "ea_list /usr/bin/ping")


@pytest.mark.long
class TestTrixie(_Debian):
    reference = "trixie"
    pulls = 1


class TestWithLittleMemory:
    """The build lies in a directory then, with files that an ordinary user cannot remove."""

    def test_cancelled(
        self, make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(namespace, "TMPFS_NEEDS", 1 << 60)
        ctx = make_context("little", "installing the base system")
        with pytest.raises(CancelledError):
            banger_register_image_sources()[0].pull("bookworm", ctx)
        remove_tree(ctx.staging)
        remove_tree(ctx.cache)
        assert list_tree(tmp_path / "with space") == [str(tmp_path / "with space" / "tmp")]

    make_context = ImageSourceContract.make_context
    models = ImageSourceContract.models
