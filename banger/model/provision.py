"""How a distribution's own package manager makes an image a whole system: an init and a server for ssh."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Bytes of an ``os-release`` that are read.
OS_RELEASE_LIMIT = 64 * 1024
#: Services are not started while they are installed: there is no init that would look after them.
_APT = """
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get update
apt-get install -y --no-install-recommends systemd systemd-sysv udev kmod dbus openssh-server
rm -f /usr/sbin/policy-rc.d
apt-get clean
"""
_DNF = """
dnf install -y --setopt=install_weak_deps=False systemd openssh-server
systemctl enable sshd.service
dnf clean all
"""
_PACMAN = """
pacman -Sy --noconfirm --needed systemd systemd-sysvcompat openssh
systemctl enable sshd.service
"""
_ZYPPER = """
zypper --non-interactive install --no-recommends systemd systemd-sysvinit openssh-server
systemctl enable sshd.service
"""
#: Alpine has no systemd: its own init and OpenRC take the place.
_APK = """
apk add --no-cache alpine-base openrc openssh-server
rc-update add sshd default
"""


@dataclass(frozen=True, slots=True)
class PackageManager:
    """A package manager.

    :param ids: what distributions that have it call themselves in ``os-release`` (ID, ID_LIKE).
    :param script: for ``sh -eu``, run as root in the guest.
    :param tested: whether tests run it; the others are written after their manuals.
    """

    name: str
    ids: tuple[str, ...]
    script: str
    tested: bool = False


MANAGERS = (
    PackageManager("apt-get", ("debian", "ubuntu"), _APT, tested=True),
    PackageManager("apk", ("alpine",), _APK),
    PackageManager("dnf", ("fedora", "rhel", "centos"), _DNF),
    PackageManager("pacman", ("arch", "archlinux"), _PACMAN),
    PackageManager("zypper", ("suse", "opensuse", "opensuse-leap", "opensuse-tumbleweed", "sles"), _ZYPPER),
)


def distribution_ids(os_release: str) -> tuple[str, ...]:
    """Return ID and then the words of ID_LIKE of an ``os-release``, in lower case; none where there are none."""
    found: dict[str, str] = {}
    for line in os_release[:OS_RELEASE_LIMIT].splitlines():
        match = re.fullmatch(r"\s*(ID|ID_LIKE)=[\"']?([A-Za-z0-9._ -]{1,200})[\"']?\s*", line)
        if match:
            found[match[1]] = match[2].lower()
    return tuple(f"{found.get('ID', '')} {found.get('ID_LIKE', '')}".split())


def find_manager(os_release: str) -> PackageManager | None:
    """Return the package manager of what an ``os-release`` describes: by ID, then by ID_LIKE."""
    for wanted in distribution_ids(os_release):
        for manager in MANAGERS:
            if wanted in manager.ids:
                return manager
    return None
