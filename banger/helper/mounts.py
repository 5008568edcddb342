"""Mounts that one process alone sees: made in a namespace of their own, they are gone with it, however it ends."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from banger.errors import HostError

#: linux/sched.h: CLONE_NEWNS.
_NEW_MOUNTS = 0x20000
#: linux/mount.h.
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_PROGRAMS, _REMOUNT = 1, 2, 4, 8, 32
_BIND, _ALL_BELOW, _PRIVATE = 4096, 16384, 1 << 18
_PLAIN = _NO_SUID | _NO_DEVICES | _NO_PROGRAMS

_Result = TypeVar("_Result")


def apart(work: Callable[[], _Result]) -> _Result:
    """Do something in a thread with mounts of its own, which what it starts has too, and nobody else."""

    def enter() -> _Result:
        if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS):
            raise _failed("a namespace for mounts")
        _mount(None, "/", _PRIVATE | _ALL_BELOW)
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


def bind(descriptor: int, target: str, *, writable: bool) -> None:
    """Show an open file or directory at another place too, for its data alone: no programs, no devices.

    :param descriptor: opened in the same :func:`apart`.
    """
    _mount(f"/proc/self/fd/{descriptor}", target, _BIND)
    _mount(None, target, _REMOUNT | _BIND | _PLAIN | (0 if writable else _READ_ONLY))


def unlock(target: str) -> None:
    """Make a mount writable that this process sees read-only."""
    _mount(None, target, _REMOUNT | _BIND | _PLAIN)


def _mount(source: str | None, target: str, flags: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    names = [None if name is None else os.fsencode(name) for name in (source, target)]
    if library.mount(*names, None, ctypes.c_ulong(flags), None):
        raise _failed(target)


def _failed(what: str) -> HostError:
    reason = os.strerror(ctypes.get_errno())
    return HostError(f"{what} cannot be mounted: {reason}", hint="mounts need root, in a container too")
