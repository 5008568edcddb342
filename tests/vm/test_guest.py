"""What a guest looks like from inside, and what its image looks like afterwards."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from vmring import Home


@pytest.fixture(scope="module")
def system(banger: Home) -> str:
    """Name of a VM whose init has started everything."""
    result = banger.ok("vm", "create", "--name", "whole", "--wait", "system", "--overlay-size", "3G")
    assert "units that failed" not in result.err
    return "whole"


def test_no_unit_failed_and_nothing_hung(banger: Home, system: str) -> None:
    # 'starting' would mean a job that still waits for something that never comes
    assert (
        banger.sh(system, "systemctl is-system-running || systemctl --failed --plain --no-legend")
        == "running"
    )
    assert banger.sh(system, "systemctl list-jobs --plain --no-legend | grep -v '^No jobs' || true") == ""


def test_identity(banger: Home, system: str) -> None:
    vm = banger.show(system)["vm"]
    assert banger.sh(system, "hostname") == "whole"
    assert banger.sh(system, "cat /proc/sys/kernel/hostname /etc/hostname") == "whole\nwhole"
    assert banger.sh(system, "cat /etc/machine-id") == vm["id"]
    assert "whole" in banger.sh(system, "cat /etc/hosts")
    assert banger.sh(system, "getent hosts whole") != ""
    assert "nameserver 10.0.2.3" in banger.sh(system, "cat /etc/resolv.conf")


def test_interface(banger: Home, system: str) -> None:
    assert "10.0.2.15/24" in banger.sh(system, "ip -4 -o addr show scope global")
    assert "default via 10.0.2.2" in banger.sh(system, "ip route")


def test_disks(banger: Home, system: str) -> None:
    mebibytes = int(banger.sh(system, "df -m --output=size / | tail -1"))
    assert 2800 < mebibytes <= 3072, "the root did not grow to the overlay's size"
    assert banger.sh(system, "stat -f -c %T / /root") == "ext2/ext3\next2/ext3"
    assert banger.sh(system, "findmnt -no SOURCE /root") != banger.sh(system, "findmnt -no SOURCE /")
    assert int(banger.sh(system, "df -m --output=size /root | tail -1")) > 7000
    assert banger.sh(system, "test -f /root/.bashrc || test -f /root/.profile; echo $?") == "0", (
        "no work seed"
    )
    # an entry there would make systemd wait for a device that may not exist
    assert banger.sh(system, "grep -v '^#' /etc/fstab || true") == ""


def test_modules_of_this_kernel(banger: Home, system: str) -> None:
    assert banger.sh(system, "test -f /lib/modules/$(uname -r)/modules.dep; echo $?") == "0"
    assert banger.sh(system, "modprobe dummy && grep -c ^dummy /proc/modules") == "1"


def test_the_clock_is_right(banger: Home, system: str) -> None:
    before = time.time()
    guest = float(banger.sh(system, "date +%s.%N"))
    assert before - 2 < guest < time.time() + 2


def test_console_and_plan(banger: Home, system: str) -> None:
    assert "Linux version" in banger.sh(system, "cat /proc/version")
    assert banger("vm", "logs", system).status == 0
    plan = banger.ok("vm", "start", "--plan", system).text.splitlines()
    assert [line.strip()[:2] for line in plan] == [f"{number}." for number in range(1, len(plan) + 1)]
    assert any("boot (core)" in line for line in plan)
    assert any("work-disk (workdisk)" in line for line in plan)


def test_a_command_runs_before_the_init_is_done(alone: Home) -> None:
    script = "cat /proc/1/comm; systemctl is-system-running"
    result = alone("vm", "run", "--rm", "--", "sh", "-c", script)
    lines = result.text.splitlines()
    assert lines[0] in ("systemd", "init", "banger-agent")
    assert lines[1:] != ["running"], "the command waited for everything, or the machine is very quick"


def test_the_image_is_never_written(alone: Home) -> None:
    (image,) = alone.ok("image", "list", "--json").json
    files = list(Path(alone.state, "images").glob("*/rootfs.ext4"))
    assert len(files) == 1
    alone.ok("vm", "run", "--rm", "--", "sh", "-c", "echo x > /x; rm -rf /usr/share; sync")
    digest = hashlib.sha256()
    with open(files[0], "rb") as file:
        while block := file.read(1024 * 1024):
            digest.update(block)
    assert image["digest"] == f"sha256:{digest.hexdigest()}"


def test_sudo_for_an_ordinary_user(banger: Home, system: str) -> None:
    banger.sh(system, "useradd -m -s /bin/bash -G sudo dev")
    refused = banger("vm", "exec", "-u", "dev", system, "--", "sudo", "-n", "id", "-un")
    assert (refused.status, "a password is required" in refused.err) == (1, True)
    banger.sh(system, "echo 'dev ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/dev")
    allowed = banger.ok("vm", "exec", "-u", "dev", system, "--", "sudo", "-n", "id", "-un")
    assert (allowed.text, allowed.err) == ("root", "")
