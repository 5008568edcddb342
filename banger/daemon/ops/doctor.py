"""The operation behind ``banger doctor``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel

from banger.config.report import Report, Setting
from banger.daemon.context import OperationContext
from banger.daemon.ops.self import Nothing, packaged_agent, running_agents
from banger.daemon.orphans import find_orphans, remove_orphan, unknown_vms
from banger.daemon.starts import open_handles
from banger.errors import BangerError
from banger.host.diagnosis import run_checks
from banger.model.check import CheckStatus
from banger.model.command import Operation
from banger.model.size import format_mib
from banger.model.vm import VmState

#: The defaults worth a glance, as people read them.
_SHOWN: dict[str, Callable[[Any], str]] = {
    "vcpu": lambda count: f"{count} vcpu",
    "memory": lambda mib: f"{format_mib(mib)} of memory",
    "disk_size": lambda mib: f"{format_mib(mib)} disk",
    "image": str,
}


class CheckLine(BaseModel):
    """What one check found."""

    name: str
    status: CheckStatus
    detail: str
    hint: str | None
    plugin: str


class Diagnosis(BaseModel):
    """Everything doctor found; ``ok`` unless something FAILs."""

    checks: tuple[CheckLine, ...]
    ok: bool


class DoctorParams(Nothing):
    """``repair``: remove what nothing refers to and is banger's own for certain."""

    repair: bool = False


def diagnose(op: OperationContext, params: DoctorParams) -> Diagnosis:
    """Run every check there is, those of VMMs, networks and capabilities included."""
    registries = op.services.registries
    found = [(owned.plugin, owned.value) for owned in registries.checks.owned()]
    for registry in (registries.vmms, registries.networks, registries.capabilities):
        for owned in registry.owned():
            found += [(owned.plugin, check) for check in owned.value.checks]
    lines = [_config_line(op), *_plugin_lines(op), *_service_lines(op), *_agent_lines(op)]
    lines += [*_orphan_lines(op), *_left_lines(op, params.repair)]
    lines += [CheckLine(**asdict(finding)) for finding in run_checks(op.services.commands, found)]
    return Diagnosis(checks=tuple(lines), ok=all(line.status is not CheckStatus.FAIL for line in lines))


def _config_line(op: OperationContext) -> CheckLine:
    """Say what is wrong with the configuration, or what it comes to."""
    problem = op.services.settings.problem
    if problem is None:
        return _defaults_line(op)
    return CheckLine(
        name="configuration",
        status=CheckStatus.FAIL,
        detail=problem.message,
        hint=problem.hint,
        plugin="core",
    )


def _defaults_line(op: OperationContext) -> CheckLine:
    """Say what a VM gets that nobody asked anything for, and where each of it came from."""
    report = Report(op.services.settings, op.services.plugin_settings)
    found = {setting.key: setting for setting in report.settings()}
    parts = []
    for key, describe in _SHOWN.items():
        setting = found[f"defaults.{key}"]
        parts.append(f"{describe(setting.value)} ({_origin(setting)})")
    return CheckLine(
        name="defaults",
        status=CheckStatus.PASS,
        detail=", ".join(parts),
        hint="banger config show",
        plugin="core",
    )


def _origin(setting: Setting) -> str:
    if setting.file is not None:
        return (
            f"{os.path.basename(setting.file)}:{setting.line}"
            if setting.line
            else os.path.basename(setting.file)
        )
    return setting.origin


def _plugin_lines(op: OperationContext) -> list[CheckLine]:
    plugins = op.services.plugins
    names = ", ".join(sorted(plugins.loaded))
    lines = [CheckLine(name="plugins", status=CheckStatus.PASS, detail=names, hint=None, plugin="core")]
    for failed in plugins.failed.values():
        name = f"plugin {failed.found.name}"
        lines.append(
            CheckLine(
                name=name,
                status=CheckStatus.WARN,
                detail=failed.reason,
                hint=failed.hint,
                plugin=failed.found.name,
            )
        )
    return lines


def _service_lines(op: OperationContext) -> list[CheckLine]:
    """Return a line for each plugin's service that no longer runs."""
    return [
        CheckLine(
            name=f"service {status.name}",
            status=CheckStatus.WARN,
            detail=f"{status.state}: {status.detail}" if status.detail else status.state,
            hint="see why: banger daemon logs; start it again: banger daemon stop (VMs go on)",
            plugin=status.plugin,
        )
        for status in op.services.supervisor.statuses()
        if status.state != "running"
    ]


def _agent_lines(op: OperationContext) -> list[CheckLine]:
    """Return a line for each running VM whose agent is of another build than new starts get."""
    services = op.services
    running = [vm for vm in services.database.vms() if vm.state is VmState.RUNNING]
    agents = running_agents(services, running, packaged_agent()) if running else ()
    return [
        _vm_line(
            agent.vm,
            f"its agent is {agent.version} ({agent.commit[:12]}), not what new starts get",
            f"banger vm restart {agent.vm}",
            "core",
        )
        for agent in agents
        if agent.drift
    ]


def _orphan_lines(op: OperationContext) -> list[CheckLine]:
    """Return a line for each VM that holds something of a plugin that is not installed, or nobody knows what."""
    steps = op.services.registries.all_steps()
    lines: list[CheckLine] = []
    for vm in op.services.database.vms():
        try:
            sections = open_handles(op.services, vm).sections
        except BangerError as error:
            lines.append(_vm_line(vm.name, error.message, error.hint, "core"))
            continue
        lines += [
            _vm_line(
                vm.name,
                f"step '{section.step}' belongs to plugin '{section.plugin}', which is not loaded",
                f"pip install banger-plugin-{section.plugin}, or banger vm delete --force {vm.name}",
                section.plugin,
            )
            for section in sections
            if section.step not in steps
        ]
    return lines


def _left_lines(op: OperationContext, repair: bool) -> Iterator[CheckLine]:
    """Yield a line for whatever has no owner, removed where that is asked for and can be."""
    services = op.services
    for entry in unknown_vms(services):
        yield _left_line(
            CheckStatus.WARN,
            f"{entry} belongs to no VM the database knows; it may hold a disk, and is kept",
            f"put the database back, or: rm -r {shlex.quote(str(entry))}",
        )
    busy = any(record is not op.record for record in services.operations.running())
    for orphan in find_orphans(services, busy=busy):
        if not repair:
            yield _left_line(
                CheckStatus.WARN, f"{orphan.what}: nothing refers to it", "banger doctor --repair"
            )
        elif (why := remove_orphan(orphan)) is not None:
            yield _left_line(CheckStatus.WARN, f"{orphan.what} could not be removed: {why}", None)
        else:
            yield _left_line(CheckStatus.PASS, f"removed {orphan.what}, to which nothing referred", None)


def _left_line(status: CheckStatus, detail: str, hint: str | None) -> CheckLine:
    return CheckLine(name="left over", status=status, detail=detail, hint=hint, plugin="core")


def _vm_line(name: str, detail: str, hint: str | None, plugin: str) -> CheckLine:
    return CheckLine(name=f"vm {name}", status=CheckStatus.WARN, detail=detail, hint=hint, plugin=plugin)


OPERATIONS = [Operation("doctor", "look at the host", DoctorParams, Diagnosis, diagnose)]
