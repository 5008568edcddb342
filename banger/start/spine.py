"""The core's own steps: what every start does, in the order of this file.

preflight | root-disk | (capabilities' disks) | disks-ready | network | net-ready | boot | booted | guest | guest-ready
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

from banger.errors import GuestError, HostError, PluginError
from banger.guest.wire import VSOCK_PORT
from banger.model.capability import GuestMount
from banger.model.check import CheckStatus
from banger.model.vm import Vm
from banger.model.vmm import Drive, LaunchSpec, VmmProbe
from banger.start.console import last_words, mark_start
from banger.start.console_times import forget_sizes, note_size
from banger.start.context import StartContext, UndoContext
from banger.start.lend import lend_files
from banger.start.root_disk import make_root_disk, release_root_disk, remove_root_disk, root_drive
from banger.start.step import StartStep

#: Seconds to the agent's first word. A stock kernel under software emulation needs about 1.5 on an idle machine.
AGENT_TIMEOUT = 60.0
#: Seconds from there to the milestone ``guest-ready``: mounts, network, identity.
READY_TIMEOUT = 60.0
#: MiB that stay free on the host's disk: below this a start is refused rather than stalled half-way.
_SPARE_MIB = 256


def check_host(ctx: StartContext) -> None:
    """Refuse what cannot work, before anything is made."""
    groups = (ctx.vmm.checks, ctx.network.checks, *(capability.checks for capability, _ in ctx.capabilities))
    for check in (check for group in groups for check in group):
        result = check.run(ctx.commands)
        if result.status is CheckStatus.FAIL:
            raise HostError(f"{check.name}: {result.detail}", hint=result.hint or "see: banger doctor")
    needed = [ctx.paths.rootfs, ctx.paths.vmlinuz, *([ctx.paths.modules] if ctx.kernel.modules_uuid else [])]
    for file in needed:
        if not file.is_file():
            raise HostError(
                f"{file} is gone, which '{ctx.vm.name}' boots from",
                hint=f"put it back, or: banger vm delete {ctx.vm.name}, then pull its image and kernel again",
            )
    if not ctx.image.managed:
        _check_unchanged(ctx)
    free = shutil.disk_usage(ctx.paths.directory).free // (1024 * 1024)
    if free < _SPARE_MIB:
        raise HostError(
            f"{free} MiB are free where VMs are kept ({ctx.paths.directory.parent}), {_SPARE_MIB} MiB are needed",
            hint="free some space; banger image list shows what images take",
        )


def _check_unchanged(ctx: StartContext) -> None:
    """Refuse to boot over a registered file that is not what it was: the VM's root disk holds differences to that."""
    info = ctx.paths.rootfs.stat()
    if (info.st_size, info.st_mtime_ns) != (ctx.image.size_bytes, ctx.image.mtime_ns):
        raise HostError(
            f"{ctx.image.path} has changed since it was registered as '{ctx.image.name}'",
            hint=f"put it back, or: banger vm delete {ctx.vm.name}; banger image delete {ctx.image.name}; "
            "register it again",
        )


def prepare_network(ctx: StartContext) -> None:
    """Let the network mode make the attachment."""
    ctx.record("mode", ctx.network.name)
    ctx.attachment = ctx.network.prepare(ctx)


def release_network(ctx: UndoContext) -> None:
    """Let the network mode take it back."""
    if "mode" in ctx.section:
        mode = ctx.networks.get(str(ctx.section["mode"]))
        if mode is None:
            raise _not_loaded("network", str(ctx.section["mode"]), ctx.vm.name)
        mode.release(ctx)


def boot(ctx: StartContext) -> None:
    """Build the initramfs and the command line, and launch the VMM."""
    probe = ctx.vmm.probe(ctx.commands, ctx.vm.spec.accel)
    spec = _launch_spec(ctx, probe)
    plan = ctx.vmm.build(spec, probe)
    ctx.record("vmm", ctx.vmm.name)
    ctx.record("accelerator", plan.accelerator)
    ctx.record("machine", plan.machine)
    ctx.progress("boot", f"{ctx.vmm.name} {plan.machine}, {plan.accelerator}")
    mark_start(ctx.paths.console)
    note_size(ctx.paths.console)
    forget_sizes(ctx.paths.directory / f"{ctx.vmm.name}.log")
    ctx.vmm.launch(ctx, spec, plan)


def kill_vmm(ctx: UndoContext) -> None:
    """End the VMM, whatever state it is in."""
    if "vmm" in ctx.section:
        vmm = ctx.vmms.get(str(ctx.section["vmm"]))
        if vmm is None:
            raise _not_loaded("vmm", str(ctx.section["vmm"]), ctx.vm.name)
        vmm.kill(ctx)
    (ctx.paths.directory / "initrd").unlink(missing_ok=True)


def _not_loaded(what: str, name: str, vm: str) -> PluginError:
    return PluginError(
        f"the {what} '{name}' that '{vm}' holds something of is not loaded",
        hint="see: banger plugins list; install or enable the plugin that has it",
    )


def _launch_spec(ctx: StartContext, probe: VmmProbe) -> LaunchSpec:
    drives = [root_drive(ctx)]
    if ctx.kernel.modules_uuid is not None:
        drives.append(Drive("modules", ctx.paths.modules, readonly=True))
    for capability, options in ctx.capabilities:
        if capability.drives is not None:
            drives.extend(capability.drives(ctx, options))
    spec = ctx.vm.spec
    return LaunchSpec(
        vm_id=ctx.vm.id,
        name=ctx.vm.name,
        vcpu=spec.vcpu,
        memory_mib=spec.memory_mib,
        accel=spec.accel,
        kernel=ctx.paths.vmlinuz,
        initrd=_make_initrd(ctx),
        drives=tuple(drives),
        attachment=ctx.attachment,
        directory=ctx.paths.directory,
        sockets=ctx.paths.sockets,
        channel=ctx.paths.channel,
        console=ctx.paths.console,
    )


def _make_initrd(ctx: StartContext) -> Path:
    """Append this VM's configuration to the cached archive of its kernel, agent and module set."""
    from banger.guest.initramfs import config_archive

    base = _base_initrd(ctx)
    initrd = ctx.paths.directory / "initrd"
    with open(initrd, "wb") as file, open(base, "rb") as source:
        shutil.copyfileobj(source, file, 1024 * 1024)
        file.write(config_archive({**guest_config(ctx), "clock_ns": time.time_ns()}))
    return initrd


def _base_initrd(ctx: StartContext) -> Path:
    from banger.guest.initramfs import agent_binary, write_base
    from banger.guest.modules import decompress_module, resolve_modules

    agent = agent_binary(ctx.kernel.arch)
    names = ctx.vmm.guest_modules
    info = agent.stat()
    identity = json.dumps([ctx.kernel.digest, str(agent), info.st_mtime_ns, info.st_size, names])
    key = hashlib.sha256(identity.encode()).hexdigest()[:24]
    base = ctx.paths.cache / "initramfs" / f"{key}.cpio"
    if base.exists():
        return base
    base.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    modules: list[tuple[str, bytes]] = []
    if ctx.kernel.modules_uuid is not None:
        disk, read = ctx.paths.modules, ctx.disks.read_file
        dep, builtin = read(disk, "/modules.dep").decode(), read(disk, "/modules.builtin").decode()
        for path in resolve_modules(names, modules_dep=dep, modules_builtin=builtin):
            modules.append((Path(path).name, decompress_module(path, read(disk, f"/{path}"))))
    write_base(base, agent, modules)
    return base


def guest_config(ctx: StartContext) -> dict[str, Any]:
    """Return what the agent is told: identity and mounts, no secret."""
    mounts: list[GuestMount] = []
    for capability, options in ctx.capabilities:
        if capability.guest_config is not None:
            mounts.extend(capability.guest_config(ctx, options).mounts)
    interface = ctx.attachment.interface if ctx.attachment is not None else None
    return {
        "version": 1,
        "hostname": ctx.vm.name,
        "machine_id": ctx.vm.id,
        "first_start": ctx.vm.started_at is None,
        "root": {"uuid": ctx.image.root_uuid, "readonly": False},
        "modules_disk": (
            {"uuid": ctx.kernel.modules_uuid, "kernel_release": ctx.kernel.release}
            if ctx.kernel.modules_uuid
            else None
        ),
        "mounts": [
            {"uuid": mount.uuid, "target": mount.target, "fstype": mount.fstype, "options": mount.options}
            for mount in mounts
        ],
        "network": (
            {
                "mac": interface.mac,
                "address": interface.address,
                "gateway": interface.gateway,
                "dns": list(interface.dns),
                "search": list(interface.search),
                "mtu": interface.mtu,
            }
            if interface is not None
            else None
        ),
        "init": _init_of(ctx.vm),
        "channel": {
            "kind": ctx.vmm.features.guest_channel,
            "name": "org.banger.agent",
            "port": VSOCK_PORT,
        },
    }


def _init_of(vm: Vm) -> str:
    """Return what the agent is told of the init: while a VM is provisioned, it has none."""
    ready = vm.spec.init == "image" or (vm.spec.init == "provisioned" and vm.provisioned)
    return "auto" if ready else "agent"


def identify_guest(ctx: StartContext) -> None:
    """Reach the agent, wait until it has booted, and tell it who it is; answered once network and mounts are up.

    While it boots it would refuse: a slow machine is heard before it is ready.
    """
    ctx.progress("agent", "waiting for the guest")
    try:
        ctx.guest.connect(AGENT_TIMEOUT)
    except GuestError as error:
        raise _explain_silence(ctx, error) from error
    ctx.guest.wait_ready(READY_TIMEOUT)
    ctx.guest.request("identify", timeout=READY_TIMEOUT, **guest_config(ctx), **_fresh())


def _explain_silence(ctx: StartContext, error: GuestError) -> GuestError:
    """Return the error for a guest that never spoke: its accelerator is a suspect, its console may know."""
    used = ctx.vmm.probe(ctx.commands, ctx.vm.spec.accel).accelerator
    other = "tcg" if used == "kvm" else "kvm"
    said = last_words(ctx.paths.console)
    hint = (
        f"try: banger vm run --accel {other}"
        if ctx.vmm.probe(ctx.commands, other).usable
        else "software emulation is slow on a busy machine: try again when it is quieter, or with more --vcpu"
    )
    message = f"{error.message}; the accelerator ({used}) may be at fault"
    return GuestError(f"{message}; the console ends: {said}" if said else message, hint=hint)


def _fresh() -> dict[str, Any]:
    """What only the host knows at this moment: the time, and randomness of its own for the guest's pool."""
    import base64
    import secrets

    return {"clock_ns": time.time_ns(), "seed": base64.b64encode(secrets.token_bytes(64)).decode()}


SPINE = (
    StartStep("check-host", check_host, before=("preflight",)),
    StartStep(
        "root-disk",
        make_root_disk,
        after=("preflight",),
        before=("disks-ready",),
        undo=release_root_disk,
        remove=remove_root_disk,
    ),
    StartStep(
        "network", prepare_network, after=("disks-ready",), before=("net-ready",), undo=release_network
    ),
    StartStep("boot", boot, after=("net-ready",), before=("booted",), undo=kill_vmm),
    StartStep("guest", identify_guest, after=("booted",), before=("guest-ready",)),
    StartStep("lend", lend_files, after=("guest",), before=("guest-ready",)),
)
