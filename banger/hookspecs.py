"""Every hook of banger. No logic.

Two grammars, nothing else. *Declare* (``banger_register_<plural noun>``): called once, in the daemon, after all
plugins are loaded; returns a list of frozen named values. They are collected plugin by plugin, stamped with their
owner, sorted by name and put into a registry that refuses duplicates, so call order never carries meaning. A declare
hook that raises takes its whole plugin out, and ``banger doctor`` says so. *Event* (``banger_vm_<past participle>``):
something happened; called in the daemon from a worker thread, result ignored, failure logged and never fatal.

Hooks are plain functions in a plugin module: never ``async``, no default arguments, no ``tryfirst``, ``trylast``,
``firstresult``, historic or wrapper hooks. They must be quick and import nothing heavy; the work lives in the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from banger.model.hook import PROJECT as PROJECT
from banger.model.hook import hookimpl as hookimpl

if TYPE_CHECKING:
    from banger.model.auth import AuthSync
    from banger.model.capability import Capability
    from banger.model.check import Check
    from banger.model.command import Command, Operation
    from banger.model.network import NetworkMode
    from banger.model.service import Service
    from banger.model.source import ImageSource, KernelSource
    from banger.model.vm import Vm
    from banger.model.vmm import Vmm
    from banger.start.step import StartStep

hookspec = pluggy.HookspecMarker(PROJECT)


@hookspec
def banger_register_start_steps() -> list[StartStep]:
    """Declare steps that are part of every start.

    Use a capability instead for steps that a VM can do without. Each step says where it belongs by milestones
    (``preflight``, ``disks-ready``, ``net-ready``, ``booted``, ``guest-ready``, ``started``); an unknown name, a cycle
    or a name that another plugin has is an error that names the plugins.

    :when: once per daemon, after every plugin is loaded.
    :process: the daemon.
    :returns: steps, with names of their own; their order is worked out once, before the first start.
    :errors: an exception, a name taken or an order that cannot be takes the plugin out. A step's ``run`` that raises
        fails the start, which is undone in reverse order; its ``undo`` and ``remove`` must be idempotent.

    .. code-block:: python

        @hookimpl
        def banger_register_start_steps():
            return [StartStep("lease", run=take_lease, undo=drop_lease, after=("preflight",), before=("disks-ready",))]
    """


@hookspec
def banger_register_capabilities() -> list[Capability]:
    """Declare named switches of a VM, chosen by ``--with NAME[:key=value,…]`` and ``--without NAME``.

    The capability's steps are in the plan only when it is on; its drives and guest configuration are added to the VM's.

    :when: once per daemon, after every plugin is loaded.
    :process: the daemon.
    :returns: capabilities, with names of their own.
    :errors: an exception or a name taken takes the plugin out. Steps fail a start as all steps do; so do ``drives`` and
        ``guest_config``.

    .. code-block:: python

        @hookimpl
        def banger_register_capabilities():
            return [Capability("scratch", "a second disk at /scratch", steps=(...), drives=scratch_drives)]
    """


@hookspec
def banger_register_vmms() -> list[Vmm]:
    """Declare virtual machine monitors.

    The core picks one per VM: flag, then configuration, then the first by priority that takes the network's kind of
    attachment and whose probe says it is usable.

    :when: once per daemon, after every plugin is loaded.
    :process: the daemon.
    :returns: VMMs, with names of their own.
    :errors: an exception or a name taken takes the plugin out. ``build`` and ``launch`` that raise fail the start;
        ``kill``
        must be idempotent.

    .. code-block:: python

        @hookimpl
        def banger_register_vmms():
            return [Vmm("qemu", "QEMU", features=..., probe=probe, build=build, launch=launch, ...)]
    """


@hookspec
def banger_register_networks() -> list[NetworkMode]:
    """Declare ways to attach a VM to a network.

    ``prepare`` is called in the step ``network``, ``release`` in its undo; ``assign`` at create.

    :when: once per daemon, after every plugin is loaded.
    :process: the daemon.
    :returns: network modes, with names of their own.
    :errors: an exception or a name taken takes the plugin out. ``prepare`` that raises fails the start; ``release``
        must be
        idempotent and tolerate a ``prepare`` that stopped half-way.

    .. code-block:: python

        @hookimpl
        def banger_register_networks():
            return [NetworkMode("user", "no privileges needed", "qemu-user", prepare=prepare, release=release)]
    """


@hookspec
def banger_register_image_sources() -> list[ImageSource]:
    """Declare where images come from, keyed by the scheme of a reference.

    ``pull`` fills a staging directory that the core owns: on failure it is removed, on success it is checked, named
    by its digest and published with one rename.

    :when: once per daemon, after every plugin is loaded.
    :process: the daemon.
    :returns: image sources, keyed by scheme.
    :errors: an exception or a scheme taken takes the plugin out. ``pull`` that raises fails the pull, and the staging
        directory is removed.

    .. code-block:: python

        @hookimpl
        def banger_register_image_sources():
            return [ImageSource("debian", "built by mmdebstrap", default_name, pull, known=("bookworm", "trixie"))]
    """


@hookspec
def banger_register_kernel_sources() -> list[KernelSource]:
    """Declare where kernels come from, keyed by the scheme of a reference; as for image sources.

    :when: once per daemon, after every plugin is loaded.
    :process: the daemon.
    :returns: kernel sources, keyed by scheme.
    :errors: an exception or a scheme taken takes the plugin out. ``pull`` that raises fails the pull, and the staging
        directory is removed.

    .. code-block:: python

        @hookimpl
        def banger_register_kernel_sources():
            return [KernelSource("debian", "the distribution's package", default_name, pull, known=("bookworm",))]
    """


@hookspec
def banger_register_auth_syncs() -> list[AuthSync]:
    """Declare files of the user's that may be lent to a VM. Off unless the user names them.

    Paths are checked once, by the core: the host path under the user's home, the guest path under ``/root``.

    :when: once per daemon, after every plugin is loaded.
    :process: the daemon.
    :returns: auth syncs, with names of their own.
    :errors: an exception or a name taken takes the plugin out.

    .. code-block:: python

        @hookimpl
        def banger_register_auth_syncs():
            return [AuthSync("opencode", "~/.local/share/opencode/auth.json", "~/.local/share/opencode/auth.json")]
    """


@hookspec
def banger_register_checks() -> list[Check]:
    """Declare what ``banger doctor`` looks at. A check changes nothing and ends within ten seconds.

    Checks that belong to a VMM, a network or a capability go into that value instead: then preflight of a VM that uses
    it refuses on FAIL as well.

    :when: once per daemon, after every plugin is loaded.
    :process: the daemon.
    :returns: checks, with names of their own.
    :errors: an exception or a name taken takes the plugin out. A check that raises is shown as FAIL.

    .. code-block:: python

        @hookimpl
        def banger_register_checks():
            return [Check("clock", lambda commands: CheckResult(CheckStatus.PASS, "in step"))]
    """


@hookspec
def banger_register_settings() -> list[str]:
    """Declare the plugin's settings: at most one ``"module:Class"`` of a frozen pydantic model.

    It is mounted at ``[plugins.<entry point name>]``; unknown keys are refused with file, dotted path and suggestion.
    Steps read it by ``ctx.settings("<entry point name>")``.

    :when: once per daemon, after every plugin is loaded.
    :process: the daemon.
    :returns: nothing, or one ``"module:Class"``; the class has ``frozen=True`` and ``extra="forbid"``.
    :errors: an exception, or something else than such a class, takes the plugin out. A wrong value in the user's
        file is the
        user's error, with file and dotted path.

    .. code-block:: python

        @hookimpl
        def banger_register_settings():
            return ["banger_net_user.settings:Settings"]
    """


@hookspec
def banger_register_operations() -> list[Operation]:
    """Declare what the daemon answers to: ``POST /v1/<name>``, in ``/v1/openapi.json`` like the core's own.

    :when: once per daemon, after every plugin is loaded.
    :process: the daemon.
    :returns: operations, with names of their own; parameters and result are pydantic models.
    :errors: an exception or a name taken takes the plugin out. ``run`` that raises one of :mod:`banger.errors` is
        the caller's
        answer; anything else is a bug, logged with its operation's id.

    .. code-block:: python

        @hookimpl
        def banger_register_operations():
            return [Operation("lease.list", "leases", LeaseListParams, LeaseListResult, list_leases)]
    """


@hookspec
def banger_register_commands() -> list[Command]:
    """Declare commands of the CLI.

    Called in the daemon, which writes them to a cache that the CLI reads, so that listing commands imports no plugin;
    ``target`` is imported when the command runs.

    :when: once per daemon, after every plugin is loaded.
    :process: the daemon.
    :returns: commands, with names of their own; ``lease list`` is the command ``list`` of the group ``lease``.
    :errors: an exception or a name taken takes the plugin out. A target that cannot be imported is an error when it
        is run.

    .. code-block:: python

        @hookimpl
        def banger_register_commands():
            return [Command("lease list", "list leases", "banger_lease.cli:list_command")]
    """


@hookspec
def banger_register_services() -> list[Service]:
    """Declare what runs for as long as the daemon lives, such as a name server.

    Each runs in a task of its own on the daemon's loop and must not block that; it is cancelled when the daemon ends
    and has two seconds to let go of what it holds. What it reports is shown by ``banger daemon status``.

    :when: once per daemon, after every plugin is loaded; services start when what was left of a former daemon is dealt
        with.
    :process: the daemon.
    :returns: services, with names of their own.
    :errors: an exception or a name taken takes the plugin out. A service whose ``run`` raises or returns is logged,
        shown by ``daemon status`` and doctor, and not started again; everything else goes on.

    .. code-block:: python

        @hookimpl
        def banger_register_services():
            return [Service("lease-server", "hands out leases", serve)]
    """


@hookspec
def banger_vm_created(vm: Vm) -> None:
    """A VM's row exists and its first start is about to begin.

    :when: once per VM, when its row exists and before its first start.
    :process: the daemon, in a worker thread that may block for a moment.
    :returns: nothing; what is returned is ignored.
    :errors: an exception is logged with the plugin's name, and everything goes on.

    .. code-block:: python

        @hookimpl
        def banger_vm_created(vm):
            audit("created", vm.name)
    """


@hookspec
def banger_vm_started(vm: Vm) -> None:
    """A VM reached the milestone ``started``.

    :when: after each start that reached the milestone ``started``.
    :process: the daemon, in a worker thread that may block for a moment.
    :returns: nothing; what is returned is ignored.
    :errors: an exception is logged with the plugin's name, and everything goes on.

    .. code-block:: python

        @hookimpl
        def banger_vm_started(vm):
            audit("started", vm.name)
    """


@hookspec
def banger_vm_stopped(vm: Vm) -> None:
    """A VM is down and what it held is released.

    :when: after each end of a run: stop, kill, a crash, a start that was cut off. A running VM that is deleted is
        only reported by ``banger_vm_deleted``.
    :process: the daemon, in a worker thread that may block for a moment.
    :returns: nothing; what is returned is ignored.
    :errors: an exception is logged with the plugin's name, and everything goes on.

    .. code-block:: python

        @hookimpl
        def banger_vm_stopped(vm):
            audit("stopped", vm.name)
    """


@hookspec
def banger_vm_deleted(vm: Vm) -> None:
    """A VM, its disks and its row are gone; ``vm`` is how it was.

    :when: once per VM, after its last trace is gone.
    :process: the daemon, in a worker thread that may block for a moment.
    :returns: nothing; what is returned is ignored.
    :errors: an exception is logged with the plugin's name, and everything goes on.

    .. code-block:: python

        @hookimpl
        def banger_vm_deleted(vm):
            audit("deleted", vm.name)
    """


@hookspec
def banger_vm_start_failed(vm: Vm, error: str) -> None:
    """A start failed and was undone; ``error`` is the first line a person saw.

    :when: after each start that failed and was undone.
    :process: the daemon, in a worker thread that may block for a moment.
    :returns: nothing; what is returned is ignored.
    :errors: an exception is logged with the plugin's name, and everything goes on.

    .. code-block:: python

        @hookimpl
        def banger_vm_start_failed(vm, error):
            audit("failed", vm.name, error)
    """


@hookspec
def banger_vm_port_opened(vm: Vm, endpoint: str, guest: str) -> None:
    """A port of a running VM opened on this host, by itself or because somebody asked for it.

    Ports that a VM is started with open with it and are not told of.

    :when: each time one opens while the VM runs. ``endpoint`` is ``address:port`` here, ``guest`` the guest's port.
    :process: the daemon, in a worker thread that may block for a moment.
    :returns: nothing; what is returned is ignored.
    :errors: an exception is logged with the plugin's name, and everything goes on.

    .. code-block:: python

        @hookimpl
        def banger_vm_port_opened(vm, endpoint, guest):
            audit("port", vm.name, endpoint)
    """


@hookspec
def banger_vm_port_closed(vm: Vm, endpoint: str, guest: str) -> None:
    """A port of which ``banger_vm_port_opened`` told closed, while the VM goes on.

    :when: each time one closes; not when its VM is down, which ``banger_vm_stopped`` tells.
    :process: the daemon, in a worker thread that may block for a moment.
    :returns: nothing; what is returned is ignored.
    :errors: an exception is logged with the plugin's name, and everything goes on.

    .. code-block:: python

        @hookimpl
        def banger_vm_port_closed(vm, endpoint, guest):
            audit("port closed", vm.name, endpoint)
    """
