"""What the daemon consists of: built once in ``main`` and handed to every operation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from banger.config.paths import Paths
from banger.config.settings import PluginSettings, Settings
from banger.daemon.context import OperationTable
from banger.daemon.locks import Locks
from banger.host.command import Commands, HostCommands
from banger.host.disk import Disks, HostDisks
from banger.model.auth import AuthSync
from banger.model.capability import Capability
from banger.model.check import Check
from banger.model.command import Command, Operation
from banger.model.network import NetworkMode
from banger.model.source import ImageSource, KernelSource
from banger.model.vmm import Vmm
from banger.plugins import Plugins
from banger.registry import Owned, Registry
from banger.start.order import order_steps
from banger.start.step import StartStep
from banger.store.database import Database

if TYPE_CHECKING:
    from banger.daemon.guests import Guests
    from banger.daemon.streams import Streams

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
        }

    def all_steps(self) -> dict[str, Owned[StartStep]]:
        """Return every step by name, those of capabilities that are off included: teardown may need them."""
        table = {owned.value.name: owned for owned in self.steps.owned()}
        for capability in self.capabilities.owned():
            table.update({step.name: Owned(step, capability.plugin) for step in capability.value.steps})
        return table

    def plan(self, capabilities: Mapping[str, Any]) -> list[Owned[StartStep]]:
        """Return the ordered steps of a VM that has these capabilities on."""
        steps = self.steps.owned()
        for owned in self.capabilities.owned():
            if owned.value.name in capabilities:
                steps += [Owned(step, owned.plugin) for step in owned.value.steps]
        return order_steps(steps, self.all_steps())


def fill_registries(plugins: Plugins) -> Registries:
    """Call every declare hook; a plugin whose values clash or whose steps cannot be ordered is taken out."""
    registries = Registries()
    for noun, registry in registries.by_noun().items():
        for plugin, value in plugins.declared(noun):
            if plugin not in plugins.loaded:
                continue
            try:
                registry.add(value, plugin)
            except Exception as error:
                plugins.fail(plugins.loaded[plugin].found, str(error))
    _drop_unorderable(plugins, registries)
    for registry in registries.by_noun().values():
        for owned in registry.owned():
            if owned.plugin not in plugins.loaded:
                registry.discard(owned.plugin)
    return registries


def _drop_unorderable(plugins: Plugins, registries: Registries) -> None:
    """Take out third parties, last first, until all steps together can be ordered."""
    suspects = [name for name in plugins.loaded if not plugins.loaded[name].found.builtin]
    while True:
        try:
            registries.plan(registries.capabilities)
            return
        except Exception as error:
            if not suspects:
                raise
            culprit = suspects.pop()
            plugins.fail(plugins.loaded[culprit].found, str(error))
            for registry in registries.by_noun().values():
                registry.discard(culprit)


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
    locks: Locks = field(default_factory=Locks)
    operations: OperationTable = field(default_factory=OperationTable)
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREADS, thread_name_prefix="banger")
    )
    guests: Guests = field(init=False)
    streams: Streams = field(init=False)
    #: Operations under way; referenced here so that they are not collected.
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    #: Set to end the daemon.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.commands = HostCommands(self.paths.journal)
        self.disks = HostDisks(self.commands)
