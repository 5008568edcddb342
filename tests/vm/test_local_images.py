"""Images and kernels of this machine, booted: registered, imported, committed, exported, brought back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from vmring import Home

from banger.host.command import HostCommands
from banger.host.copy import copy_disk
from banger.host.kernel_file import extract_vmlinux, inspect_kernel
from banger_local.ext4_tree import unpack_ext4


def write_into(image: Path, inside: str, text: str, directory: Path) -> None:
    """Put a file into an ext4 file."""
    (directory / "text").write_text(text)
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
    line = ["debugfs", "-w", "-R", f"write {directory / 'text'} {inside}", image]
    subprocess.run(line, check=True, capture_output=True, env={"PATH": path}, timeout=60)


def build_kernel(home: Home, target: Path) -> str:
    """Lay a kernel out as a distribution does, the ELF file of the store's bzImage with its modules; its release."""
    (kernel,) = (home.state / "kernels").iterdir()
    release = inspect_kernel(kernel / "vmlinuz").release
    (target / "boot").mkdir(parents=True)
    (target / "lib" / "modules").mkdir(parents=True)
    extract_vmlinux(kernel / "vmlinuz", target / "boot" / f"vmlinux-{release}")
    assert unpack_ext4(HostCommands(), kernel / "modules.ext4", "/", target / "lib" / "modules" / release)
    return release


def test_registered_committed_exported_imported(alone: Home, tmp_path: Path) -> None:
    (stored,) = (alone.state / "images").glob("*/rootfs.ext4")
    rootfs = tmp_path / "rootfs.ext4"
    copy_disk(stored, rootfs)
    write_into(rootfs, "/etc/registered", "from a file\n", tmp_path)
    write_into(rootfs, "/root/seeded", "from its root\n", tmp_path)
    release = build_kernel(alone, tmp_path / "tree")
    alone.ok("kernel", "import", "built", "--from", str(tmp_path / "tree"))
    alone.ok("image", "register", "--name", "mine", "--rootfs", str(rootfs), "--kernel-ref", "built")

    alone.ok("vm", "create", "--name", "web", "--image", "mine", "--wait", "agent")
    said = alone.sh("web", "uname -r; cat /etc/registered /root/seeded")
    assert said.splitlines() == [release, "from a file", "from its root"]
    alone.sh("web", "echo set-up > /etc/ready; echo kept > notes; ln -s notes link; chown 1000 notes")
    refused = alone("image", "delete", "mine")
    assert refused.status == 1 and "in use by web" in refused.err
    alone.ok("image", "commit", "web", "ready")
    # it goes on: nothing is frozen, and what comes now is not in the image
    alone.sh("web", "echo later > /etc/later; echo later > later; sync")
    alone.ok("image", "promote", "mine")
    rootfs.unlink()
    assert alone.sh("web", "cat /etc/registered") == "from a file"
    alone.ok("vm", "delete", "web")

    archive = str(tmp_path / "ready.tar.zst")
    alone.ok("image", "export", "ready", archive)
    for name in ("ready", "mine"):
        alone.ok("image", "delete", name)
    alone.ok("kernel", "rm", "built")
    alone.ok("image", "import", archive, "--name", "back")
    script = "uname -r; cat /etc/registered /etc/ready; cd; cat link; stat -c %u notes; ls; ls /etc/later"
    result = alone("vm", "run", "--rm", "--image", "back", "--", "sh", "-c", script)
    lines = result.text.splitlines()
    assert lines[:5] == [release, "from a file", "set-up", "kept", "1000"], result
    assert sorted(lines[5:]) == ["link", "lost+found", "notes", "seeded"]
    assert "/etc/later" in result.err
    alone.assert_clean()


def test_a_registered_file_that_changed_boots_nothing(alone: Home, tmp_path: Path) -> None:
    (stored,) = (alone.state / "images").glob("*/rootfs.ext4")
    rootfs = tmp_path / "rootfs.ext4"
    copy_disk(stored, rootfs)
    write_into(rootfs, "/etc/registered", "from a file\n", tmp_path)
    alone.ok(
        "image", "register", "--name", "mine", "--rootfs", str(rootfs), "--kernel-ref", "debian-bookworm"
    )
    os.utime(rootfs, (1, 1))
    result = alone("vm", "run", "--rm", "--image", "mine", "--", "true")
    assert result.status == 1 and "has changed since it was registered as 'mine'" in result.err
    alone.assert_clean()
