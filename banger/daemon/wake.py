"""The host's clock jumped: it woke from sleep, or somebody set it. Running guests are told what time it is.

While a host sleeps its VMs stand still, and go on with the time they had. The kernel tells of a jump through a timer
that is cancelled when the clock is set, so nothing is done, and no processor used, until there is one.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from banger.daemon.starts import vm_paths
from banger.errors import BangerError
from banger.model.vm import Vm, VmState

if TYPE_CHECKING:
    from banger.daemon.services import Services

log = logging.getLogger(__name__)

#: From timerfd_create(2); Python has it from 3.13 on.
_TFD_TIMER_ABSTIME, _TFD_TIMER_CANCEL_ON_SET = 1, 2
#: Seconds since 1970 that never come.
_FAR = 2**40
#: Seconds a guest gets to take the time.
_TIMEOUT = 5.0
#: Seconds of sleep worth a line in the log.
_SLEPT = 2.0


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", ctypes.c_long * 2), ("value", ctypes.c_long * 2))


def open_timer() -> int:
    """Return a timer whose reading fails with ECANCELED once the clock was set; OSError where there is none."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = int(library.timerfd_create(time.CLOCK_REALTIME, os.O_CLOEXEC | os.O_NONBLOCK))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
    spec = _TimerSpec(value=(ctypes.c_long * 2)(_FAR, 0))
    if library.timerfd_settime(descriptor, flags, ctypes.byref(spec), None) < 0:
        number = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(number, "timerfd_settime")
    return descriptor


def was_set(timer: int) -> bool:
    """Tell whether the clock was set since the last time; for a timer that is readable."""
    try:
        os.read(timer, 8)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno == errno.ECANCELED:
            return True
        raise
    return False


def time_slept() -> float:
    """Return the seconds that the host has slept since its boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def watch_clock(services: Services) -> Callable[[], None]:
    """Set the guests' clocks whenever the host's jumps; on the loop. Return what ends that."""
    try:
        timer = open_timer()
    except (OSError, AttributeError) as error:
        log.warning("jumps of the clock are not noticed: %s", error)
        return lambda: None
    slept = time_slept()

    def changed() -> None:
        nonlocal slept
        if not was_set(timer):
            return
        before, slept = slept, time_slept()
        how = f"the host slept for {slept - before:.0f} s" if slept - before > _SLEPT else "the clock was set"
        log.info("%s: telling the guests the time", how)
        task = asyncio.ensure_future(set_clocks(services))
        services.background.add(task)
        task.add_done_callback(services.background.discard)

    def close() -> None:
        services.loop.remove_reader(timer)
        os.close(timer)

    services.loop.add_reader(timer, changed)
    return close


async def set_clocks(services: Services) -> None:
    """Tell every running guest what time it is."""
    running = [vm for vm in services.database.vms() if vm.state is VmState.RUNNING]
    await asyncio.gather(*(set_clock(services, vm) for vm in running))


async def set_clock(services: Services, vm: Vm) -> None:
    """Tell one guest what time it is; one that does not listen is logged."""
    try:
        channel = await services.guests.channel(vm.id, vm_paths(services, vm).channel, _TIMEOUT)
        await channel.request("clock", timeout=_TIMEOUT, clock_ns=time.time_ns())
    except BangerError as error:
        log.warning("the clock of %s was not set: %s", vm.name, error)
