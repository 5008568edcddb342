"""What the daemon consists of: built once in ``main`` and handed to every operation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from banger.config.paths import Paths
from banger.config.settings import PluginSettings, Settings, repeat_problem
from banger.daemon.complaints import Complaints
from banger.daemon.context import OperationTable
from banger.daemon.declared import check_declared, check_offer, check_schemas
from banger.daemon.locks import Locks
from banger.host.command import Commands, HostCommands
from banger.host.disk import Disks, HostDisks
from banger.host.privileged import HostPrivileged, Privileged
from banger.model.auth import AuthSync
from banger.model.capability import Capability
from banger.model.check import Check
from banger.model.command import Command, Operation
from banger.model.network import NetworkMode
from banger.model.service import Service
from banger.model.source import ImageSource, KernelSource
from banger.model.vmm import Vmm, VmmStatus
from banger.plugins import Plugins
from banger.registry import Owned, Registry
from banger.start.order import order_steps
from banger.start.step import StartStep
from banger.store.database import Database

if TYPE_CHECKING:
    from banger.daemon.guests import Guests
    from banger.daemon.leases import HeldLease
    from banger.daemon.streams import Streams
    from banger.daemon.supervisor import Supervisor

#: Threads for pipeline steps, disks and SQLite. More than a machine of this kind runs VMs at once; none of them waits
#: for another's slot, only for locks whose holders have a slot already.
_THREADS = 64


class Registries:
    """Every table that plugins fill."""

    def __init__(self) -> None:
        self.steps: Registry[StartStep] = Registry("start step")
        self.capabilities: Registry[Capability] = Registry("capability")
        self.vmms: Registry[Vmm] = Registry("vmm")
        self.networks: Registry[NetworkMode] = Registry("network")
        self.image_sources: Registry[ImageSource] = Registry("image source")
        self.kernel_sources: Registry[KernelSource] = Registry("kernel source")
        self.auth_syncs: Registry[AuthSync] = Registry("auth sync")
        self.checks: Registry[Check] = Registry("check")
        self.operations: Registry[Operation] = Registry("operation")
        self.commands: Registry[Command] = Registry("command")
        self.services: Registry[Service] = Registry("service")

    def by_noun(self) -> Mapping[str, Registry[Any]]:
        """Return the tables by the noun of the hook that fills them."""
        return {
            "start_steps": self.steps,
            "capabilities": self.capabilities,
            "vmms": self.vmms,
            "networks": self.networks,
            "image_sources": self.image_sources,
            "kernel_sources": self.kernel_sources,
            "auth_syncs": self.auth_syncs,
            "checks": self.checks,
            "operations": self.operations,
            "commands": self.commands,
            "services": self.services,
        }

    def all_steps(self) -> dict[str, Owned[StartStep]]:
        """Return every step by name, those of capabilities that are off included: teardown may need them."""
        table = {owned.value.name: owned for owned in self.steps.owned()}
        for capability in self.capabilities.owned():
            table.update({step.name: Owned(step, capability.plugin) for step in capability.value.steps})
        return table

    def check_order(self, plugins: AbstractSet[str]) -> None:
        """Raise PluginError unless the steps of these plugins, with every capability on, can be ordered."""
        steps = self.steps.owned()
        for owned in self.capabilities.owned():
            steps += [Owned(step, owned.plugin) for step in owned.value.steps]
        order_steps([owned for owned in steps if owned.plugin in plugins], self.all_steps())

    def plan(self, capabilities: Mapping[str, Any]) -> list[Owned[StartStep]]:
        """Return the ordered steps of a VM that has these capabilities on."""
        steps = self.steps.owned()
        for owned in self.capabilities.owned():
            if owned.value.name in capabilities:
                steps += [Owned(step, owned.plugin) for step in owned.value.steps]
        return order_steps(steps, self.all_steps())


def fill_registries(plugins: Plugins) -> Registries:
    """Call every declare hook; a plugin whose values are no such values, clash or cannot be ordered is taken out."""
    registries = Registries()
    for noun, registry in registries.by_noun().items():
        for plugin, value in plugins.declared(noun):
            if plugin not in plugins.loaded:
                continue
            try:
                check_declared(noun, value)
                if noun == "operations" and not plugins.loaded[plugin].found.builtin:
                    check_schemas(value)  # ours have them, and it takes a while
                if noun == "auth_syncs":
                    check_offer(value)
                registry.add(value, plugin)
            except Exception as error:
                plugins.fail(plugins.loaded[plugin].found, str(error))
    _discard_failed(plugins, registries)
    _drop_unorderable(plugins, registries)
    return registries


def _discard_failed(plugins: Plugins, registries: Registries) -> None:
    """Take out what requires a plugin that failed, and all that failed plugins had declared."""
    plugins.drop_unmet()
    for registry in registries.by_noun().values():
        for owner in {owned.plugin for owned in registry.owned()} - set(plugins.loaded):
            registry.discard(owner)


def _drop_unorderable(plugins: Plugins, registries: Registries) -> None:
    """Take out the third parties with whose steps the others' cannot be ordered, and nobody else.

    They are added to banger's own one by one, by name; one that does not fit is left out. As its steps may be named by
    another's, this is repeated until all that are left fit together.
    """
    third_parties = {name for name, plugin in plugins.loaded.items() if not plugin.found.builtin}
    while True:
        fitting = set(plugins.loaded) - third_parties
        registries.check_order(fitting)
        before = len(third_parties)
        for name in sorted(third_parties & set(plugins.loaded)):
            try:
                registries.check_order(fitting | {name})
                fitting.add(name)
            except Exception as error:
                plugins.fail(plugins.loaded[name].found, str(error))
        _discard_failed(plugins, registries)
        third_parties &= set(plugins.loaded)
        if len(third_parties) == before:
            return


@dataclass(slots=True)
class Services:
    """The daemon's parts."""

    paths: Paths
    settings: Settings
    plugins: Plugins
    plugin_settings: PluginSettings
    registries: Registries
    database: Database
    loop: asyncio.AbstractEventLoop
    #: What this daemon was started from, readable and as its digest; clients send the digest.
    fingerprint: str
    fingerprint_digest: str
    commands: Commands = field(init=False)
    disks: Disks = field(init=False)
    privileged: Privileged = field(init=False)
    locks: Locks = field(default_factory=Locks)
    operations: OperationTable = field(default_factory=OperationTable)
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREADS, thread_name_prefix="banger")
    )
    guests: Guests = field(init=False)
    streams: Streams = field(init=False)
    #: What plugins run beside the daemon's own work.
    supervisor: Supervisor = field(init=False)
    #: Operations under way; referenced here so that they are not collected.
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    #: What else runs in threads, started by nobody's call: take-downs of VMs that ended by themselves.
    background: set[asyncio.Future[Any]] = field(default_factory=set)
    #: Operation id -> the hold that its client has on what it made.
    leases: dict[str, HeldLease] = field(default_factory=dict)
    #: Ids of VMs whose console somebody is at.
    seats: set[str] = field(default_factory=set)
    #: VM id -> what its VMM said last, where it says so by itself.
    statuses: dict[str, VmmStatus] = field(default_factory=dict)
    #: What guests do wrong.
    complaints: Complaints = field(default_factory=Complaints)
    #: VM id -> the host's and the guest's ports that a plugin relays.
    relays: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    #: VM id -> what interrupts the start that is under way.
    starting: dict[str, threading.Event] = field(default_factory=dict)
    #: Set to end the daemon.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def check_configured(self) -> None:
        """Refuse what depends on settings: called before anything new is made or started.

        :raises ConfigError: the configuration does not hold.
        """
        if self.settings.problem is not None:
            raise repeat_problem(self.settings.problem)

    def settings_of_network(self, name: str) -> Any:
        """Return the settings of the plugin that offers a network; None where it declared none."""
        owner = self.registries.networks.owner(name)
        return self.plugin_settings.get(owner) if self.plugin_settings.has(owner) else None

    def __post_init__(self) -> None:
        self.commands = HostCommands(self.paths.journal)
        self.disks = HostDisks(self.commands)
        self.privileged = HostPrivileged()
