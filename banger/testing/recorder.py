"""Which hooks were called, in which plugin, with what, and what came back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from banger.plugins import Plugins


@dataclass(frozen=True, slots=True)
class HookCall:
    """One call of one hook in one plugin.

    :param hook: its whole name: ``banger_vm_started``.
    :param result: what it returned, None where it raised.
    :param error: what it raised, if it did.
    """

    hook: str
    plugin: str
    arguments: dict[str, Any]
    result: Any = None
    error: BaseException | None = None


@dataclass
class HookRecorder:
    """Every hook call of the plugins it watches, in order."""

    calls: list[HookCall] = field(default_factory=list)

    def watch(self, plugins: Plugins) -> None:
        """Record what is called in ``plugins`` from now on."""
        plugins.on_call(self._add)

    def _add(
        self, hook: str, plugin: str, arguments: dict[str, Any], result: Any, error: BaseException | None
    ) -> None:
        self.calls.append(HookCall(hook, plugin, arguments, result, error))

    def of(self, hook: str) -> list[HookCall]:
        """Return the calls of one hook."""
        return [call for call in self.calls if call.hook == hook]

    def names(self, plugin: str | None = None) -> list[str]:
        """Return the names of the hooks called, in order; of one plugin, or of all."""
        return [call.hook for call in self.calls if plugin in (None, call.plugin)]
