"""Faults before and after each step and each row of a VM's life; the plugin is :mod:`banger.testing.faults`."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from banger.daemon.context import OperationContext
from banger.daemon.services import Services
from banger.errors import BangerError
from banger.registry import Registry

#: The operation is cancelled; the step raises; it waits for a program that never ends, until the program's time is up;
#: the daemon is killed.
Fault = Literal["cancel", "raise", "hang", "kill"]
FAULTS: tuple[Fault, ...] = ("cancel", "raise", "hang", "kill")

#: Seconds that a program gets which never ends.
_HANG_SECONDS = 0.1
#: The functions of a start step.
_PARTS = ("run", "undo", "remove", "quiesce")
#: What writes rows, and what to call what was written.
_ROWS: dict[str, Callable[[Any], str]] = {
    "add_vm": lambda vm: f"new {vm.state}",
    "update_vm": lambda vm: str(vm.state),
    "delete_vm": lambda _: "deleted",
    "add_image": lambda _: "new image",
    "add_kernel": lambda _: "new kernel",
}


class InjectedFault(BangerError):
    """What a step raises that was told to."""


class ArmParams(BaseModel):
    """``place``: where; empty for nowhere, which only forgets what was passed. ``kind``: what happens there, once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: str = ""
    when: Literal["before", "after"] = "before"
    kind: Fault = "raise"


class Nothing(BaseModel):
    """No parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FaultReport(BaseModel):
    """``passed``: the places passed since the last arming, in order; ``struck``: whether the fault has.

    ``held``: locks that somebody holds or waits for; ``running``: operations under way, but this one.
    """

    passed: tuple[str, ...] = ()
    struck: bool = False
    held: tuple[str, ...] = ()
    running: tuple[str, ...] = ()


class Injector:
    """Stands at every place of one daemon."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._armed: ArmParams | None = None
        self._guard = threading.Lock()
        self.passed: list[str] = []
        self.struck = False
        registries = services.registries
        _replace(registries.steps, self._around_step)
        _replace(
            registries.capabilities,
            lambda capability: dataclasses.replace(
                capability, steps=tuple(self._around_step(step) for step in capability.steps)
            ),
        )
        for sources in (registries.image_sources, registries.kernel_sources):
            _replace(sources, self._around_source)
        for method, label in _ROWS.items():
            self._around_row(method, label)

    def arm(self, params: ArmParams) -> None:
        """Choose what happens where; forget what was passed."""
        with self._guard:
            self._armed = params if params.place else None
            self.passed, self.struck = [], False

    def surround(self, place: str, holder: Any, name: str) -> None:
        """Make a place of a function that no hook declares: what a plugin's operation is made of.

        :param holder: the module or class that has it, as its callers look it up; it is changed for good.
        """
        setattr(holder, name, self._around(place, getattr(holder, name)))

    def _around_step(self, step: Any) -> Any:
        parts = {
            part: self._around(f"{part} {step.name}", getattr(step, part))
            for part in _PARTS
            if getattr(step, part) is not None
        }
        return dataclasses.replace(step, **parts)

    def _around_source(self, source: Any) -> Any:
        return dataclasses.replace(source, pull=self._around(f"pull {source.name}", source.pull))

    def _around_row(self, method: str, label: Callable[[Any], str]) -> None:
        write = getattr(self._services.database, method)

        def written(record: Any) -> Any:
            return self._around(f"row {label(record)}", write)(record)

        setattr(self._services.database, method, written)

    def _around(self, place: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def surrounded(*arguments: Any, **named: Any) -> Any:
            with self._guard:
                self.passed.append(place)
            self._strike(place, "before")
            result = function(*arguments, **named)
            self._strike(place, "after")
            return result

        return surrounded

    def _strike(self, place: str, when: str) -> None:
        with self._guard:
            fault = self._armed
            if fault is None or (fault.place, fault.when) != (place, when):
                return
            self._armed, self.struck = None, True
        if fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.kind == "cancel":
            for record in self._services.operations.running():
                record.cancel.set()
        elif fault.kind == "hang":
            self._services.commands.run(["sleep", "600"], timeout=_HANG_SECONDS)
        else:
            raise InjectedFault(f"a fault was injected {when} {place}")


def _replace(registry: Registry[Any], change: Callable[[Any], Any]) -> None:
    """Put changed values in the place of those that plugins declared."""
    owned = registry.owned()
    for plugin in {value.plugin for value in owned}:
        registry.discard(plugin)
    for value in owned:
        registry.add(change(value.value), value.plugin)


_injectors: dict[int, Injector] = {}


def injector(services: Services) -> Injector:
    """Return a daemon's injector, put in place at its first use."""
    if id(services) not in _injectors:
        _injectors[id(services)] = Injector(services)
    return _injectors[id(services)]


def arm(op: OperationContext, params: ArmParams) -> FaultReport:
    """Choose what happens where."""
    injector(op.services).arm(params)
    return FaultReport()


def report(op: OperationContext, _: Nothing) -> FaultReport:
    """Tell what was passed, and what is held."""
    found, services = injector(op.services), op.services
    return FaultReport(
        passed=tuple(found.passed),
        struck=found.struck,
        held=tuple(services.locks.held()),
        running=tuple(record.name for record in services.operations.running() if record is not op.record),
    )
