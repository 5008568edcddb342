"""Operations on banger itself: the daemon and its plugins."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, ConfigDict

import banger
from banger.build import agent_info, build_info
from banger.daemon.context import OperationContext
from banger.daemon.services import Services
from banger.daemon.starts import vm_paths
from banger.errors import BangerError, ConflictError
from banger.guest.channel import AgentInfo
from banger.guest.initramfs import agent_binary
from banger.model.command import Operation
from banger.model.vm import Vm, VmState


class Nothing(BaseModel):
    """No parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Build(BaseModel):
    """Which build something is."""

    version: str
    commit: str
    built_at: str


class AgentBuild(BaseModel):
    """The agent in a running VM; ``drift``: it is of another build than the one that new starts get."""

    vm: str
    version: str
    commit: str
    drift: bool


class ServiceLine(BaseModel):
    """A plugin's service; ``detail``: what it reported, or why it failed."""

    name: str
    plugin: str
    state: Literal["running", "failed", "ended"]
    detail: str


class DaemonStatus(BaseModel):
    """The daemon that answered. ``agent``: the one that new starts get; ``agents``: those of running VMs."""

    version: str
    commit: str
    built_at: str
    pid: int
    uptime_seconds: float
    socket: str
    state_directory: str
    memory_mib: float
    running_vms: int
    operations: int
    agent: Build | None = None
    agents: tuple[AgentBuild, ...] = ()
    services: tuple[ServiceLine, ...] = ()


class StopParams(BaseModel):
    """``force`` ends the daemon although operations are running; VMs go on either way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    force: bool = False


class PluginInfo(BaseModel):
    """An installed plugin."""

    name: str
    distribution: str
    version: str
    state: Literal["loaded", "failed", "disabled"]
    builtin: bool
    summary: str = ""
    reason: str | None = None
    hint: str | None = None


class PluginList(BaseModel):
    """Every installed plugin, by name."""

    plugins: tuple[PluginInfo, ...]


_STARTED = time.monotonic()
#: Seconds that the agents of running VMs get to say what they are.
_AGENT_SECONDS = 1.0


def status(op: OperationContext, _: Nothing) -> DaemonStatus:
    """Report on the daemon."""
    services = op.services
    commit, built_at = build_info()
    running = [vm for vm in services.database.vms() if vm.state is VmState.RUNNING]
    agent = packaged_agent()
    return DaemonStatus(
        version=banger.__version__,
        commit=commit,
        built_at=built_at,
        pid=os.getpid(),
        uptime_seconds=round(time.monotonic() - _STARTED, 1),
        socket=str(services.paths.daemon_socket),
        state_directory=str(services.paths.state),
        memory_mib=_resident_mib(),
        running_vms=len(running),
        operations=len(services.operations.running()) - 1,
        agent=agent,
        agents=running_agents(services, running, agent),
        services=tuple(ServiceLine(**asdict(status)) for status in services.supervisor.statuses()),
    )


def packaged_agent() -> Build | None:
    """Return the agent that new starts get; None where there is none."""
    try:
        return Build.model_validate(agent_info(agent_binary(os.uname().machine)))
    except (BangerError, OSError):
        return None


def running_agents(services: Services, vms: list[Vm], packaged: Build | None) -> tuple[AgentBuild, ...]:
    """Ask the agents of running VMs what they are, all at once; one that does not answer in time is left out."""

    async def ask() -> list[AgentInfo | None]:
        asked = (
            services.guests.describe(vm.id, vm_paths(services, vm).channel, _AGENT_SECONDS) for vm in vms
        )
        return list(await asyncio.gather(*asked))

    answers = asyncio.run_coroutine_threadsafe(ask(), services.loop).result(_AGENT_SECONDS * 2)
    wanted = (packaged.version, packaged.commit) if packaged is not None else None
    return tuple(
        AgentBuild(
            vm=vm.name,
            version=info.version,
            commit=info.commit,
            drift=wanted is not None and (info.version, info.commit) != wanted,
        )
        for vm, info in zip(vms, answers, strict=True)
        if info is not None
    )


def _resident_mib() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / (1024 * 1024), 1)


async def stop(op: OperationContext, params: StopParams) -> Nothing:
    """End the daemon once this answer is sent."""
    running = [record for record in op.services.operations.running() if record is not op.record]
    busy = running + [lease.record for lease in op.services.leases.values()]
    if busy and not params.force:
        names = ", ".join(sorted({record.name for record in busy}))
        raise ConflictError(
            f"operations are running: {names}", hint="banger daemon stop --force; VMs go on either way"
        )
    op.services.loop.call_later(0.05, op.services.stopping.set)
    return Nothing()


def list_plugins(op: OperationContext, _: Nothing) -> PluginList:
    """List plugins."""
    plugins = op.services.plugins
    lines = [
        PluginInfo(
            name=loaded.found.name,
            distribution=loaded.found.distribution,
            version=loaded.found.version,
            builtin=loaded.found.builtin,
            state="loaded",
            summary=(loaded.module.__doc__ or "").strip().partition("\n")[0].replace("``", ""),
        )
        for loaded in plugins.loaded.values()
    ]
    lines += [
        PluginInfo(
            name=failed.found.name,
            distribution=failed.found.distribution,
            version=failed.found.version,
            builtin=failed.found.builtin,
            state="failed",
            reason=failed.reason,
            hint=failed.hint,
        )
        for failed in plugins.failed.values()
    ]
    lines += [
        PluginInfo(
            name=found.name,
            distribution=found.distribution,
            version=found.version,
            builtin=found.builtin,
            state="disabled",
        )
        for found in plugins.disabled.values()
    ]
    return PluginList(plugins=tuple(sorted(lines, key=lambda line: line.name)))


OPERATIONS = [
    Operation("daemon.status", "the daemon", Nothing, DaemonStatus, status),
    Operation("daemon.stop", "end the daemon; VMs go on", StopParams, Nothing, stop),
    Operation("plugins.list", "list plugins", Nothing, PluginList, list_plugins),
]
