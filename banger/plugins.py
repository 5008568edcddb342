"""Plugins: discovered by entry points, loaded one ``try`` each, reported, and called through a typed façade.

A broken plugin never stops anything but itself: it becomes a :class:`FailedPlugin` that doctor prints.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from banger import hookspecs
from banger.errors import ConfigError, PluginError
from banger.model.name import unknown_hint

if TYPE_CHECKING:
    from banger.model.vm import Vm

Event = Literal[
    "vm_created",
    "vm_started",
    "vm_stopped",
    "vm_deleted",
    "vm_start_failed",
    "vm_port_opened",
    "vm_port_closed",
]

#: What the declare hooks are called with, by the noun in their names.
DECLARED = (
    "start_steps",
    "capabilities",
    "vmms",
    "networks",
    "image_sources",
    "kernel_sources",
    "auth_syncs",
    "checks",
    "settings",
    "operations",
    "commands",
    "services",
)


#: What a plugin's own code may raise without taking more than itself down; ``sys.exit()`` is no way out of a daemon.
_BROKEN = (Exception, SystemExit, KeyboardInterrupt)


@dataclass(frozen=True, slots=True)
class FoundPlugin:
    """An entry point of the group ``banger``: cheap to find, not imported."""

    name: str
    module: str
    distribution: str
    version: str

    @property
    def builtin(self) -> bool:
        """True for what banger itself ships."""
        return self.distribution == "banger"


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin that works."""

    found: FoundPlugin
    module: ModuleType


@dataclass(frozen=True, slots=True)
class FailedPlugin:
    """A plugin that does not work, and why."""

    found: FoundPlugin
    reason: str
    trace: str = ""

    @property
    def hint(self) -> str:
        """The command that takes the plugin away."""
        if self.found.builtin:
            return f'disable it: disabled = ["{self.found.name}"] in the configuration'
        return f"pip uninstall {self.found.distribution}"


def find_plugins() -> list[FoundPlugin]:
    """List the entry points, built-in ones first, then by name; nothing is imported."""
    found = {
        FoundPlugin(
            point.name,
            point.value,
            point.dist.name if point.dist else "unknown",
            point.dist.version if point.dist else "",
        )
        for point in importlib.metadata.entry_points(group=hookspecs.PROJECT)
    }
    return sorted(found, key=lambda plugin: (not plugin.builtin, plugin.name, plugin.module))


class Plugins:
    """The plugins of this process. Built once in ``main`` and passed on; there is no global one."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self.loaded: dict[str, LoadedPlugin] = {}
        self.failed: dict[str, FailedPlugin] = {}
        self.disabled: dict[str, FoundPlugin] = {}

    def load(
        self,
        found: Iterable[FoundPlugin],
        *,
        disabled: Iterable[str] = (),
        third_parties: bool = True,
        importer: Callable[[str], ModuleType] = importlib.import_module,
    ) -> None:
        """Load plugins, each in its own ``try``; disabled ones are not even imported.

        :raises ConfigError: ``disabled`` names a plugin that is not installed, or an essential one.
        :raises PluginError: a plugin failed and ``BANGER_STRICT_PLUGINS`` is set.
        """
        points = list(found)
        self._check_disabled(points, set(disabled))
        for point in points:
            if point.name in set(disabled) or (not third_parties and not point.builtin):
                self.disabled[point.name] = point
            else:
                self._load_one(point, importer)
        self.drop_unmet()
        if self.failed and os.environ.get("BANGER_STRICT_PLUGINS") == "1":
            first = next(iter(self.failed.values()))
            raise PluginError(f"plugin '{first.found.name}': {first.reason}", plugin=first.found.name)

    def _check_disabled(self, points: list[FoundPlugin], disabled: set[str]) -> None:
        names = {point.name for point in points}
        for name in sorted(disabled - names):
            raise ConfigError(
                f"disabled names the plugin '{name}', which is not installed",
                hint=unknown_hint(name, names, "see: banger plugins list"),
            )
        if "core" in disabled:
            raise ConfigError("the plugin 'core' cannot be disabled", hint="take it out of disabled")

    def _load_one(self, point: FoundPlugin, importer: Callable[[str], ModuleType]) -> None:
        name = point.name
        if name in self.loaded or name in self.failed:
            key = f"{name} ({point.distribution})"
            self.failed[key] = FailedPlugin(point, f"another installed plugin is called '{name}' as well")
            return
        try:
            module = importer(point.module)
            self._manager.register(module, name=name)
            self._manager.check_pending()
            _check_grammar(self._manager.get_hookcallers(module) or [], name)
        except _BROKEN as error:
            self.fail(point, _first_line(error), traceback.format_exc())
        else:
            self.loaded[name] = LoadedPlugin(point, module)

    def drop_unmet(self) -> None:
        """Take out plugins whose requirements are not loaded, and those that require them in turn."""
        changed = True
        while changed:
            changed = False
            for plugin in list(self.loaded.values()):
                missing = [need for need in getattr(plugin.module, "REQUIRES", ()) if need not in self.loaded]
                if missing:
                    self.fail(plugin.found, f"it requires the plugin '{missing[0]}', which is not loaded")
                    changed = True

    def fail(self, point: FoundPlugin, reason: str, trace: str = "") -> None:
        """Take a plugin out, whatever it had registered so far, and remember why."""
        if self._manager.has_plugin(point.name):
            self._manager.unregister(name=point.name)
        self.loaded.pop(point.name, None)
        self.failed[point.name] = FailedPlugin(point, reason, trace)

    def on_call(
        self, callback: Callable[[str, str, dict[str, Any], Any, BaseException | None], None]
    ) -> None:
        """Tell ``callback`` of every hook call: hook, plugin, arguments, result, what it raised."""

        def after(
            outcome: pluggy.Result[Any], hook: str, impls: Sequence[pluggy.HookImpl], arguments: Any
        ) -> None:
            failed = outcome.exception
            results = [] if failed else outcome.get_result()
            for impl in impls:
                callback(hook, impl.plugin_name, dict(arguments), results[0] if results else None, failed)

        self._manager.add_hookcall_monitoring(lambda *_: None, after)

    def declared(self, noun: str) -> list[tuple[str, Any]]:
        """Call one declare hook plugin by plugin; return ``(plugin, value)`` pairs. One that raises is taken out.

        Built-in plugins come first, so that of two that declare one name it is the third party that is refused.
        """
        hook = f"{hookspecs.PROJECT}_register_{noun}"
        pairs: list[tuple[str, Any]] = []
        ordered = sorted(self.loaded.items(), key=lambda item: (not item[1].found.builtin, item[0]))
        for name, plugin in ordered:
            try:
                for returned in self._call(plugin, hook):
                    pairs.extend((name, value) for value in returned)
            except _BROKEN as error:
                self.fail(plugin.found, f"{hook}: {_first_line(error)}", traceback.format_exc())
        return pairs

    def emit(self, event: Event, vm: Vm, log: Callable[[str, BaseException], None], **facts: str) -> None:
        """Call one event hook in every plugin, by name; a failure goes to ``log`` with the plugin's name."""
        for name, plugin in sorted(self.loaded.items()):
            try:
                self._call(plugin, f"{hookspecs.PROJECT}_{event}", vm=vm, **facts)
            except _BROKEN as error:
                log(name, error)

    def _call(self, plugin: LoadedPlugin, hook: str, **arguments: Any) -> list[Any]:
        """Call a hook in one plugin only, so that one exception never stops the others and results have an owner."""
        others = [other.module for other in self.loaded.values() if other.module is not plugin.module]
        results: list[Any] = self._manager.subset_hook_caller(hook, others)(**arguments)
        return results


def _check_grammar(callers: Iterable[pluggy.HookCaller], name: str) -> None:
    """Refuse what our hooks do not have: wrappers, priorities, defaults (pluggy never passes those), coroutines."""
    for caller in callers:
        for impl in caller.get_hookimpls():
            if impl.plugin_name != name:
                continue
            if impl.tryfirst or impl.trylast or impl.wrapper or impl.hookwrapper:
                raise PluginError(
                    f"{caller.name}: tryfirst, trylast and wrappers are not used by banger", plugin=name
                )
            if inspect.iscoroutinefunction(impl.function):
                raise PluginError(f"{caller.name}: hooks are plain functions, not async", plugin=name)
            if impl.kwargnames:
                raise PluginError(f"{caller.name}: a default argument is never passed", plugin=name)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, pluggy.PluginValidationError):
        # what is wrong with the hook stands in the last line, after what it is called
        lines = ["; ".join(dict.fromkeys((lines[0], lines[-1])))]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
