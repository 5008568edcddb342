"""Whether KVM truly works here. A device that opens and answers is not enough."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

#: ioctl numbers of linux/kvm.h: _IO(0xAE, 0x00) and _IO(0xAE, 0x01), and the only API version there ever was.
_GET_API_VERSION, _CREATE_VM, _API_VERSION = 0xAE00, 0xAE01, 12

DEVICE = Path("/dev/kvm")
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Kvm:
    """What was found.

    :param reason: why it is not usable, one clause.
    :param hint: what mends it, where something does.
    """

    usable: bool
    reason: str | None = None
    hint: str | None = None


def probe_kvm(device: Path = DEVICE, cpuinfo: Path = CPUINFO) -> Kvm:
    """Look at the device and at the processor.

    On hosts whose KVM is pagetable-based (nested clouds) every ioctl succeeds, but a stock kernel hangs early; such
    hosts show neither ``vmx`` nor ``svm``, so both are asked for.
    """
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return Kvm(False, f"there is no {device}", "enable virtualisation in the firmware, or go on without")
    except PermissionError:
        return Kvm(False, f"no permission for {device}", "sudo usermod -aG kvm $USER, then log in again")
    except OSError as error:
        return Kvm(False, f"{device} does not open: {error.strerror}")
    try:
        if not _answers(descriptor):
            return Kvm(False, f"{device} does not answer as KVM does")
    finally:
        os.close(descriptor)
    if not processor_flags(cpuinfo) & {"vmx", "svm"}:
        return Kvm(False, "guests hang under this host's KVM: the processor shows neither vmx nor svm")
    return Kvm(True)


def _answers(descriptor: int) -> bool:
    import fcntl

    try:
        if fcntl.ioctl(descriptor, _GET_API_VERSION, 0) != _API_VERSION:
            return False
        os.close(fcntl.ioctl(descriptor, _CREATE_VM, 0))
    except OSError:
        return False
    return True


def processor_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Return the first processor's flags."""
    try:
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("flags"):
                return set(line.partition(":")[2].split())
    except OSError:
        pass
    return set()
