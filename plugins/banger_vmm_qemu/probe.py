"""What QEMU is here and which accelerator it gets."""

from __future__ import annotations

import os
import platform
import re

from banger.api import Commands, HostError, VmmProbe, probe_kvm

PROGRAM = "qemu-system-x86_64"
_VERSION = re.compile(rb"version ([0-9]+(?:\.[0-9]+)+)")


def probe(commands: Commands, accel: str) -> VmmProbe:
    """Look for the program and for KVM; never starts a guest."""
    path = commands.find(PROGRAM)
    if path is None:
        return VmmProbe(False, reason=f"{PROGRAM} is not installed", hint="sudo apt install qemu-system-x86")
    if platform.machine() != "x86_64":
        return VmmProbe(False, reason=f"this plugin runs on x86_64, not {platform.machine()}")
    try:
        version = _version(commands, path)
    except HostError as error:
        return VmmProbe(False, reason=error.message, hint=error.hint)
    if accel == "tcg":
        return VmmProbe(True, version, "tcg")
    kvm = probe_kvm()
    if kvm.usable:
        return VmmProbe(True, version, "kvm")
    if accel == "kvm":
        return VmmProbe(
            False, version, reason=f"KVM is not usable: {kvm.reason}", hint=kvm.hint or "--accel tcg"
        )
    return VmmProbe(True, version, "tcg", f"software emulation, slower than KVM ({kvm.reason})", kvm.hint)


#: (path, modification time) -> version: asking takes as long as the rest of a start's preparation.
_versions: dict[tuple[str, int], str] = {}


def _version(commands: Commands, path: str) -> str:
    key = (path, os.stat(path).st_mtime_ns if os.path.exists(path) else 0)
    if key not in _versions:
        match = _VERSION.search(commands.run([path, "--version"], timeout=30).stdout)
        _versions[key] = match.group(1).decode() if match else "unknown"
    return _versions[key]
