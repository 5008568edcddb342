"""Running the services of plugins: each in a task of its own, so that one that fails takes nothing else down."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from banger.config.paths import make_private
from banger.daemon.starts import vm_paths
from banger.daemon.takedown import log_event
from banger.errors import BangerError, NotFoundError
from banger.model.service import RunningVm, Service, ServiceStatus
from banger.model.vm import VmState

if TYPE_CHECKING:
    from banger.daemon.services import Services
    from banger.guest.channel import GuestStream
    from banger.host.privileged import Privileged
    from banger.model.vm import Vm
    from banger.plugins import Event

log = logging.getLogger(__name__)

#: Seconds that services get, all together, to end when the daemon does.
END_SECONDS = 2.0
#: Characters of a report that are kept.
_DETAIL_LIMIT = 200


@dataclass(slots=True)
class _Run:
    """A service and what became of it."""

    service: Service
    plugin: str
    state: str = "running"
    detail: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class ServiceContext:
    """What ``Service.run`` gets; every method may be called from the daemon's loop."""

    def __init__(self, services: Services, run: _Run) -> None:
        self._services = services
        self._run = run

    def vms(self) -> list[RunningVm]:
        """Return the VMs that are running now, oldest first; a few milliseconds at most.

        :raises BangerError: the store cannot be read.
        """
        return [
            RunningVm(vm.id, vm.name, vm.state.value, vm.address)
            for vm in self._services.database.vms()
            if vm.state is VmState.RUNNING
        ]

    def records(self) -> list[Vm]:
        """Return every VM's row, oldest first; as :meth:`vms`."""
        return self._services.database.vms()

    def directory_of(self, vm: Vm) -> Path:
        """Return the directory that a VM's own files are in; it goes when the VM is deleted."""
        return self._services.paths.vms / vm.id

    def last_used(self, vm: Vm) -> float | None:
        """Return when a command, a copy or a login in a VM last began or ended; None: not since the daemon began.

        As CLOCK_BOOTTIME has it, which goes on while the host sleeps and is never set. Now, while one is under way.
        """
        streams = self._services.streams
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        return now if streams.open[vm.id] else streams.used.get(vm.id)

    async def call(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """Do what a client could ask for, with an operation id of its own; BangerError when it fails."""
        from banger.daemon.app import run_for_service

        return await run_for_service(self._services, operation, params)

    async def ask_guest(self, vm: Vm, question: str, timeout: float, **fields: Any) -> dict[str, Any]:
        """Return a guest's answer, which is hostile text and numbers; GuestError within ``timeout`` seconds else."""
        channel = vm_paths(self._services, vm).channel
        return await self._services.guests.request(vm.id, channel, question, timeout=timeout, **fields)

    async def open_stream(self, vm: Vm, question: str, **fields: Any) -> GuestStream:
        """Open a stream of a guest's agent, such as a ``relay``; GuestError when it refuses. To be closed."""
        return await self._services.guests.open(
            vm.id, vm_paths(self._services, vm).channel, question, **fields
        )

    def show_relays(self, vm: Vm, ports: set[tuple[int, int]]) -> None:
        """Say which ports of the VM's address lead through its agent to which of the guest's, as pairs; on the loop."""
        if ports:
            self._services.relays[vm.id] = ports
        else:
            self._services.relays.pop(vm.id, None)

    def announce(self, event: Event, vm: Vm, **facts: str) -> None:
        """Call an event hook of every plugin, ``vm_port_opened`` for example; it may block: in a thread."""
        self._services.plugins.emit(event, vm, log_event, **facts)

    def report(self, detail: str) -> None:
        """Say in one line how the service is, for ``daemon status``: where it listens, for example."""
        self._run.detail = _one_line(detail)

    def settings(self) -> Any:
        """Return the plugin's settings; PluginError when it declared none."""
        return self._services.plugin_settings.get(self._run.plugin)

    @property
    def privileged(self) -> Privileged:
        """What only root may do; its calls block: in a thread."""
        return self._services.privileged

    @property
    def directory(self) -> Path:
        """The plugin's own directory, private to the user; it stays when the daemon ends."""
        make_private(self._services.paths.plugins)
        return make_private(self._services.paths.plugins / self._run.plugin)


class Supervisor:
    """Starts the services of plugins, knows how each is, and ends them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._runs: dict[str, _Run] = {}
        self._closing = False

    def start(self) -> None:
        """Start every service that plugins declared; on the loop. It waits for none of them."""
        for owned in self._services.registries.services.owned():
            run = _Run(owned.value, owned.plugin)
            self._runs[owned.value.name] = run
            run.task = asyncio.create_task(self._watch(run), name=f"service {owned.value.name}")

    async def _watch(self, run: _Run) -> None:
        """Run one service to its end, whatever it raises."""
        try:
            work: Any = run.service.run(ServiceContext(self._services, run))
            if not inspect.isawaitable(work):
                raise TypeError("its run is not an async function")
            await work
        except asyncio.CancelledError:
            if not self._closing:
                self._failed(run, "it cancelled itself", "")
                return
            run.state = "ended"
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # sys.exit() is no way out of a daemon
            self._failed(run, _reason(error), traceback.format_exc())
        else:
            run.state = "ended"
            log.warning("service %s of plugin %s ended by itself", run.service.name, run.plugin)

    def _failed(self, run: _Run, reason: str, trace: str) -> None:
        run.state, run.detail = "failed", _one_line(reason)
        log.error("service %s of plugin %s failed: %s\n%s", run.service.name, run.plugin, reason, trace)

    async def close(self) -> int:
        """End every service, bounded; return how many did not end. A second call does nothing."""
        self._closing = True
        tasks = {run.task: run for run in self._runs.values() if run.task is not None and not run.task.done()}
        for task in tasks:
            task.cancel()
        if not tasks:
            return 0
        _, late = await asyncio.wait(tasks, timeout=END_SECONDS)
        for task in late:
            run = tasks[task]
            log.error("service %s of plugin %s does not end", run.service.name, run.plugin)
        return len(late)

    def statuses(self) -> list[ServiceStatus]:
        """Return how every service is, by name; from any thread."""
        return [ServiceStatus(name, run.plugin, run.state, run.detail) for name, run in self._runs.items()]

    def status(self, name: str) -> ServiceStatus:
        """Return how one service is; NotFoundError when there is none of that name."""
        for status in self.statuses():
            if status.name == name:
                return status
        raise NotFoundError(f"there is no service '{name[:80]}'", hint="see: banger daemon status")


def _reason(error: BaseException) -> str:
    """Return why a service failed, in the words of the first error of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error.message if isinstance(error, BangerError) else f"{type(error).__name__}: {error}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_DETAIL_LIMIT]
