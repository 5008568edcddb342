"""The two services, as systemd reads them, closed as far as what they do allows."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from banger.api import UsageError
from banger_system.layout import DAEMON, DAEMON_UNIT, HELPER, HELPER_SOCKET, HELPER_UNIT, TOOLS

_MARK = "# Written by `banger system install`; `banger system uninstall` removes it.\n"

#: What systemd takes for a user's name as it is (systemd.exec(5), useradd(8)).
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")

_HELPER = """\
[Unit]
Description=banger's root helper: links, rules and disks of {owner}'s microVMs
After=network.target

[Service]
Type=exec
{programs}ExecStart={helper}/bin/python3 -I -m banger.helper --socket {socket} --owner {uid}
Restart=on-failure
RestartSec=200ms
# What it started for VMs goes on when it is started again, and so do their sockets.
KillMode=process
SendSIGKILL=no
# A control group below its own for each VM that it launches.
Delegate=yes
RuntimeDirectory=bangerd-root
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
# Jails; in nobody's reach but root's.
StateDirectory=bangerd-root
StateDirectoryMode=0700
UMask=0077

CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL CAP_MKNOD CAP_NET_ADMIN CAP_NET_RAW
CapabilityBoundingSet=CAP_SETGID CAP_SETUID CAP_SYS_ADMIN CAP_SYS_CHROOT
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/run/banger /var/lib/banger
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
ProtectProc=default
DevicePolicy=closed
DeviceAllow=/dev/net/tun rwm
DeviceAllow=/dev/kvm rwm
# jailer makes it in each jail where the kernel has it; nothing opens it.
DeviceAllow=/dev/userfaultfd m
DeviceAllow=/dev/loop-control rw
DeviceAllow=/dev/mapper/control rw
DeviceAllow=block-loop rwm
DeviceAllow=block-device-mapper rwm
RestrictNamespaces=mnt
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
IPAddressDeny=any
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service @mount chroot pivot_root seccomp
SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

#: It is started as root, within all of these bounds, and gives that up at once: with User= alone, systemd before 255
#: takes from every line that needs a filter of system calls that NoNewPrivileges= is meant, and newuidmap, which builds
#: of images need, would be no more than any program (banger_system.tools has what that is here). RestrictSUIDSGID=,
#: ProtectKernelLogs= and ProtectKernelTunables= are not here for the same builds: they unpack programs that are
#: set-uid, and mount a /proc of their own, which the kernel allows only where nothing in the old one is covered. TCG
#: translates: no MemoryDenyWriteExecute=. QEMU closes itself up further: seccomp.
_DAEMON = """\
[Unit]
Description=banger: microVMs of {owner}
Wants={helper_unit}
After=network.target {helper_unit}
# It ends by itself when its configuration has changed, and is started again.
StartLimitIntervalSec=60
StartLimitBurst=30

[Service]
Type=exec
User={owner}
Group={gid}
Environment=PATH={tools}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
{programs}Environment=BANGER_MODE=system LANG=C.UTF-8 HOME={home} USER={owner} LOGNAME={owner}
WorkingDirectory=/
ExecStart=!{setpriv} --reuid {uid} --regid {gid} --groups {groups} --inh-caps -all \\
    {daemon}/bin/python3 -I -m banger.daemon.main
Restart=always
RestartSec=200ms
TimeoutStopSec=60
# VMs outlive the daemon, and so do their sockets.
KillMode=process
SendSIGKILL=no
RuntimeDirectory=banger
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
StateDirectory=banger
StateDirectoryMode=0700
CacheDirectory=banger
CacheDirectoryMode=0700
UMask=0077
LimitNOFILE=65536

CapabilityBoundingSet=CAP_SETGID CAP_SETUID
ProtectSystem=strict
ProtectHome=read-only
ProtectProc=invisible
ProtectControlGroups=yes
ProtectClock=yes
ProtectKernelModules=yes
PrivateTmp=yes
PrivateMounts=yes
DevicePolicy=closed
DeviceAllow=/dev/kvm rw
DeviceAllow=/dev/net/tun rw
DeviceAllow=/dev/vhost-net rw
DeviceAllow=/dev/vhost-vsock rw
KeyringMode=private
LockPersonality=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6
RestrictNamespaces=user mnt pid uts ipc
SystemCallArchitectures=native
SystemCallFilter=@system-service @mount chroot pivot_root seccomp
SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
#: Where util-linux has it on every distribution with systemd.
_SETPRIV = "/usr/bin/setpriv"
#: The directory that a user of the services has when his home is none.
_NO_HOME = "/"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom the daemon runs as.

    :param groups: those he is in, and the one of ``/dev/kvm``.
    """

    name: str
    uid: int
    gid: int
    home: str
    groups: tuple[int, ...]


def find_owner(name: str) -> Owner:
    """Return the user of a name, or of a number; UsageError when there is none, or he is root."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, ValueError, OverflowError):
        raise UsageError(f"there is no user {name[:80]} here", hint="see: getent passwd") from None
    if entry.pw_uid == 0:
        raise UsageError("the owner is an ordinary user, never root", hint="--owner USER")
    if not _NAME.fullmatch(entry.pw_name) or set(entry.pw_dir) & set(" \t\"'\\%$"):
        raise UsageError(
            f"systemd cannot be told of the user {entry.pw_name[:80]!r} with his home", hint="--owner USER"
        )
    groups = set(os.getgrouplist(entry.pw_name, entry.pw_gid))
    with contextlib.suppress(KeyError):
        groups.add(grp.getgrnam("kvm").gr_gid)
    home = entry.pw_dir or _NO_HOME
    return Owner(entry.pw_name, entry.pw_uid, entry.pw_gid, home, tuple(sorted(groups)))


def helper_unit(owner: Owner, programs: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the helper's unit.

    :param programs: variables that name programs it launches: :func:`banger_system.programs.find_programs`.
    """
    text = _HELPER.format(
        owner=owner.name, uid=owner.uid, helper=HELPER, socket=HELPER_SOCKET, programs=_variables(programs)
    )
    return _MARK + text


def _variables(programs: Mapping[str, str]) -> str:
    return "".join(f"Environment={name}={path}\n" for name, path in programs.items())


def daemon_unit(owner: Owner, programs: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the daemon's unit; ``programs`` as for the helper's."""
    text = _DAEMON.format(
        owner=owner.name,
        uid=owner.uid,
        gid=owner.gid,
        home=owner.home,
        groups=",".join(map(str, owner.groups)),
        daemon=DAEMON,
        tools=TOOLS,
        helper_unit=HELPER_UNIT,
        setpriv=_SETPRIV,
        programs=_variables(programs),
    )
    return _MARK + text


def tmpfiles(owner: Owner) -> str:
    """Return what systemd-tmpfiles makes at each boot, and never cleans."""
    places = ("/run/banger", "/var/lib/banger", "/var/cache/banger")
    return _MARK + "".join(f"d {place} 0700 {owner.uid} {owner.gid} -\n" for place in places)


UNITS = (HELPER_UNIT, DAEMON_UNIT)
