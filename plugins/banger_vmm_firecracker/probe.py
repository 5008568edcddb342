"""Which Firecracker is here, and whether it may be used: versions with known holes are refused."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import replace

from banger.api import (
    BangerError,
    Commands,
    HostError,
    HostPrivileged,
    Privileged,
    ShowJail,
    VmmProbe,
    probe_kvm,
)

#: Names the program where it is not on PATH.
VARIABLE = "BANGER_FIRECRACKER"
PROGRAM = "firecracker"
_VERSION = re.compile(rb"(?:Firecracker|Jailer) v([0-9]+)\.([0-9]+)\.([0-9]+)")

#: Series -> the first patch level of it without the holes below. Every newer series has the fixes from its start.
_SAFE = {(1, 14): 4, (1, 15): 1}
_ADVISORIES = "CVE-2026-1386, CVE-2026-5747"
_ONE_VERSION = "install both from one release: https://github.com/firecracker-microvm/firecracker/releases"
_INSTALL = "https://github.com/firecracker-microvm/firecracker/releases: firecracker 1.15.1 or newer, on PATH"

Version = tuple[int, int, int]


def find_program(commands: Commands) -> str | None:
    """Return the program's path: the one that ``BANGER_FIRECRACKER`` names, else the one on PATH."""
    return os.environ.get(VARIABLE) or commands.find(PROGRAM)


def probe(commands: Commands, accel: str, privileged: Privileged | None = None) -> VmmProbe:
    """Look for the program, its version, KVM, and its jail where somebody can make one; never starts a guest."""
    found, asked = probe_program(commands, accel), privileged or HostPrivileged()
    if not found.usable or asked.find() is None:
        return found
    try:
        return replace(found, version=find_jailed(commands, asked))
    except BangerError as error:
        return replace(found, usable=False, reason=error.message, hint=error.hint)


def find_jailed(commands: Commands, privileged: Privileged) -> str:
    """Return the version of what would run in a jail: not by what is found here, but where the jail is made.

    :raises BangerError: no jail can be made, or not of these programs.
    """
    shown = privileged.call(ShowJail())
    firecracker, jailer = (find_version(commands, str(shown[name])) for name in ("firecracker", "jailer"))
    if not is_safe(firecracker):
        raise HostError(f"firecracker {_text(firecracker)} has known holes: {_ADVISORIES}", hint=_INSTALL)
    if firecracker != jailer:
        raise HostError(
            f"firecracker {_text(firecracker)} and jailer {_text(jailer)} are of different versions",
            hint=_ONE_VERSION,
        )
    return _text(firecracker)


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def probe_program(commands: Commands, accel: str) -> VmmProbe:
    """Look for the program, its version and KVM."""
    if accel == "tcg":
        return VmmProbe(False, reason="firecracker needs KVM: it emulates no processor", hint="--vmm qemu")
    path = find_program(commands)
    if path is None:
        return VmmProbe(False, reason="firecracker is not installed", hint=_INSTALL)
    if platform.machine() != "x86_64":
        return VmmProbe(False, reason=f"this plugin runs on x86_64, not {platform.machine()}")
    try:
        version = find_version(commands, path)
    except HostError as error:
        return VmmProbe(False, reason=error.message, hint=error.hint)
    text = _text(version)
    if not is_safe(version):
        return VmmProbe(
            False, text, reason=f"firecracker {text} has known holes: {_ADVISORIES}", hint=_INSTALL
        )
    kvm = probe_kvm()
    if not kvm.usable:
        return VmmProbe(False, text, reason=f"firecracker needs KVM: {kvm.reason}", hint=kvm.hint)
    return VmmProbe(True, text, "kvm")


def is_safe(version: Version) -> bool:
    """Tell whether a version has the fixes for what is known."""
    series, patch = version[:2], version[2]
    return patch >= _SAFE[series] if series in _SAFE else series > max(_SAFE)


#: (path, modification time) -> version: asking takes as long as the rest of a start's preparation.
_versions: dict[tuple[str, int], Version] = {}


def find_version(commands: Commands, path: str) -> Version:
    """Return a program's version; HostError when it does not say that it is Firecracker, or its jailer."""
    key = (path, os.stat(path).st_mtime_ns if os.path.exists(path) else 0)
    if key not in _versions:
        match = _VERSION.search(commands.run([path, "--version"], timeout=10).stdout)
        if match is None:
            raise HostError(f"{path} does not say that it is Firecracker", hint=f"{VARIABLE}, or PATH")
        _versions[key] = (int(match[1]), int(match[2]), int(match[3]))
    return _versions[key]
