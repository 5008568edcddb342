"""Operations that ask how a guest is."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel

from banger.daemon.context import OperationContext
from banger.daemon.lifecycle import resolve_vm
from banger.daemon.ops.detail import VmParams, check_runs, unhealthy_of
from banger.daemon.ops.ssh_login import log_in
from banger.daemon.starts import vm_paths
from banger.errors import BangerError, GuestError
from banger.guest.wire import clean_text
from banger.model.command import Operation
from banger.model.vm import Vm

#: Seconds for each question to a guest.
_ASK_SECONDS = 10.0
_SSH = 22
#: Seconds for a login over ssh, which is slow under software emulation.
_LOGIN_SECONDS = 30.0
#: A disk, or memory, with less than one part in this many left is full.
_FULL = 50


class VmHealthParams(VmParams):
    """``login``: also log in over ssh, with the pinned host key, as ``vm ssh`` does."""

    login: bool = False


class VmPing(BaseModel):
    """The agent answered within ``milliseconds``."""

    vm: str
    milliseconds: float


class VmHealth(BaseModel):
    """How a guest is. Sizes are KiB as the guest says them; None where it says nothing of use."""

    vm: str
    healthy: bool
    agent: str
    agent_version: str
    boot_id: str
    milliseconds: float
    uptime_seconds: float | None = None
    load: tuple[float, ...] = ()
    memory_total_kib: int | None = None
    memory_available_kib: int | None = None
    root_size_kib: int | None = None
    root_free_kib: int | None = None
    #: Whether something listens on the guest's port 22.
    ssh: bool = False
    #: The version of the ssh server that a login was tried with and that let it in.
    login: str | None = None
    problems: tuple[str, ...] = ()


async def ping(op: OperationContext, params: VmParams) -> VmPing:
    """Ask a VM's agent for a sign of life."""
    vm = _running(op, params)
    _, seconds = await _ask(op, vm, "health")
    return VmPing(vm=vm.name, milliseconds=round(seconds * 1000, 2))


async def health(op: OperationContext, params: VmHealthParams) -> VmHealth:
    """Ask a VM's agent how its guest is."""
    vm = _running(op, params)
    said, seconds = await _ask(op, vm, "health")
    stats, _ = await _ask(op, vm, "stats")
    ports, _ = await _ask(op, vm, "ports")
    memory, root = _table(stats, "memory"), _table(stats, "root")
    found = VmHealth(
        vm=vm.name,
        healthy=False,
        agent=clean_text(said.get("state"), 20),
        agent_version=clean_text(said.get("version"), 60),
        boot_id=clean_text(said.get("boot_id"), 60),
        milliseconds=round(seconds * 1000, 2),
        uptime_seconds=_number(stats, "uptime_ms", 1000),
        load=_numbers(stats.get("load")),
        memory_total_kib=_whole(memory, "total_kib"),
        memory_available_kib=_whole(memory, "available_kib"),
        root_size_kib=_whole(root, "size_kib"),
        root_free_kib=_whole(root, "free_kib"),
        ssh=_SSH in _ports(ports),
    )
    problems, login = _problems(found), None
    if (reason := unhealthy_of(op.services, vm)) is not None:
        problems.append(f"within the last minute, {reason}")
    if params.login:
        try:
            login = clean_text(await log_in(op.services, vm, _LOGIN_SECONDS), 200)
        except BangerError as error:
            problems.append(error.message)
    return found.model_copy(update={"problems": tuple(problems), "healthy": not problems, "login": login})


def _problems(found: VmHealth) -> list[str]:
    problems = []
    if found.agent != "ready":
        problems.append(f"the agent is {found.agent or 'silent'}, not ready")
    if _is_full(found.root_size_kib, found.root_free_kib):
        problems.append(f"the root disk is full: {found.root_free_kib} KiB free")
    if _is_full(found.memory_total_kib, found.memory_available_kib):
        problems.append(f"memory is used up: {found.memory_available_kib} KiB available")
    return problems


def _is_full(size: int | None, left: int | None) -> bool:
    return bool(size) and left is not None and left * _FULL < (size or 0)


def _running(op: OperationContext, params: VmParams) -> Vm:
    vm = resolve_vm(op.services, params.vm)
    check_runs(op.services, vm)
    return vm


async def _ask(op: OperationContext, vm: Vm, question: str) -> tuple[dict[str, Any], float]:
    began = time.monotonic()
    try:
        answer = await op.services.guests.request(
            vm.id, vm_paths(op.services, vm).channel, question, timeout=_ASK_SECONDS
        )
    except GuestError as error:
        error.hint = f"look at it: banger vm logs {vm.name}; start it anew: banger vm restart {vm.name}"
        raise
    return answer, time.monotonic() - began


def _table(said: dict[str, Any], key: str) -> dict[str, Any]:
    value = said.get(key)
    return value if isinstance(value, dict) else {}


def _number(said: dict[str, Any], key: str, scale: float = 1) -> float | None:
    value = said.get(key)
    return round(value / scale, 3) if isinstance(value, int | float) and 0 <= value < 2**53 else None


def _whole(said: dict[str, Any], key: str) -> int | None:
    value = _number(said, key)
    return None if value is None else int(value)


def _numbers(value: object) -> tuple[float, ...]:
    found = value[:3] if isinstance(value, list) else []
    return tuple(float(each) for each in found if isinstance(each, int | float) and 0 <= each < 1e6)


def _ports(said: dict[str, Any]) -> set[int]:
    found = said.get("ports")
    entries = found if isinstance(found, list) else []
    numbers = (entry.get("port") for entry in entries if isinstance(entry, dict))
    return {number for number in numbers if isinstance(number, int)}


OPERATIONS = [
    Operation("vm.ping", "a sign of life of a VM's agent", VmParams, VmPing, ping),
    Operation("vm.health", "how a VM's guest is", VmHealthParams, VmHealth, health),
]
