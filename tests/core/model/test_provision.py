"""Which package manager a distribution has."""

from __future__ import annotations

import subprocess

import pytest

from banger.model.provision import MANAGERS, PackageManager, distribution_ids, find_manager


@pytest.mark.parametrize(
    ("os_release", "name"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n', "apt-get"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "apt-get"),
        ('ID="alpine"\n', "apk"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf"),
        ("ID=arch", "pacman"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"', "zypper"),
        ("ID=nixos\n", None),
        ("NAME=debian\n", None),
        ("", None),
        ("ID=$(id)\nID_LIKE=\n", None),
    ],
)
def test_by_id_and_then_by_what_it_is_like(os_release: str, name: str | None) -> None:
    manager = find_manager(os_release)
    assert (manager.name if manager else None) == name


def test_its_own_id_comes_first() -> None:
    assert distribution_ids("ID_LIKE=debian\nID=Fedora") == ("fedora", "debian")
    manager = find_manager("ID_LIKE=debian\nID=fedora")
    assert manager is not None and manager.name == "dnf"


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.name)
def test_every_script_is_one_for_sh(manager: PackageManager) -> None:
    script = manager.script
    subprocess.run(["sh", "-n"], input=script, text=True, check=True, timeout=10)
    assert "ssh" in script
