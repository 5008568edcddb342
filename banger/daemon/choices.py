"""What a new VM will be: flags over configuration over the host's size, checked before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from banger.config.settings import Defaults
from banger.config.sizes import (
    default_memory_mib,
    default_vcpu,
    host_cpus,
    host_memory_mib,
)
from banger.daemon.capabilities import change_capabilities, check_capabilities, usual_capabilities
from banger.daemon.context import OperationContext
from banger.daemon.lending import check_lent, choose_auth
from banger.daemon.networks import check_published, choose_network, find_nat, leads_out, parse_published
from banger.daemon.pulls import Catalogue
from banger.daemon.room import check_disk_room, check_room
from banger.daemon.services import Services
from banger.errors import ConflictError, HostError, UsageError, VmmError
from banger.model.image import Image, Kernel
from banger.model.label import parse_labels
from banger.model.name import check_vm_name
from banger.model.network import NetworkMode
from banger.model.size import format_mib, parse_size
from banger.model.vm import Init, VmSpec
from banger.model.vmm import Vmm

#: The least memory that a distribution boots in, and what a work disk and a root disk need, MiB.
_LEAST_MEMORY, _LEAST_DISK = 128, 64
#: The most that ext4 with 4 KiB blocks holds, MiB (16 TiB).
_MOST_DISK = 16 * 1024 * 1024


class Sizes(BaseModel):
    """How large a VM is. Sizes are MiB or text like ``2G``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vcpu: int | None = None
    memory: int | None = None
    disk_size: int | None = None
    overlay_size: int | None = None

    @field_validator("memory", "disk_size", "overlay_size", mode="before")
    @classmethod
    def _size(cls, value: Any, info: ValidationInfo) -> Any:
        try:
            return parse_size(str(value)) if value is not None else None
        except UsageError as error:
            flag = str(info.field_name).replace("_", "-")
            raise UsageError(f"--{flag}: {error.message}", hint=error.hint) from error


class VmChoices(Sizes):
    """What the caller asked for; None means: decide for me."""

    name: str | None = None
    image: str | None = Field(default=None, min_length=1)
    kernel: str | None = Field(default=None, min_length=1)
    vmm: str | None = Field(default=None, min_length=1)
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    network: str | None = Field(default=None, min_length=1)
    publish: tuple[str, ...] = Field(default=(), max_length=64)
    with_: tuple[str, ...] = Field(default=(), max_length=64, alias="with")
    without: tuple[str, ...] = Field(default=(), max_length=64)
    auth: tuple[str, ...] = Field(default=(), max_length=64)
    init: Init = "image"
    label: tuple[str, ...] = Field(default=(), max_length=64)
    overcommit: bool = Field(default=False, description="although the host has not enough memory or disk now")
    nat: bool = Field(default=False, description="a way out: the capability nat, or a network that has one")


@dataclass(frozen=True, slots=True)
class Choice:
    """What was decided."""

    spec: VmSpec
    image: Image
    kernel: Kernel
    notices: tuple[str, ...]
    labels: dict[str, str]


def choose(op: OperationContext, wanted: VmChoices) -> Choice:
    """Decide and check everything a new VM needs; pull what is missing, after everything else was found good."""
    services = op.services
    services.check_configured()
    defaults = services.settings.core.defaults
    if wanted.name is not None:
        check_vm_name(wanted.name)
        if any(vm.name == wanted.name for vm in services.database.vms()):
            raise ConflictError(
                f"a VM called '{wanted.name}' exists",
                hint=f"choose another name, or: banger vm delete {wanted.name}",
            )
    labels = parse_labels(wanted.label)
    spec, notices = _choose_spec(services, wanted)
    _check_sizes(spec)
    check_lent(services, spec.auth)
    if not wanted.overcommit:
        check_room(services, "it", spec.memory_mib)
        asked = (spec.disk_mib, wanted.disk_size), (spec.overlay_mib, wanted.overlay_size)
        check_disk_room(services, "it", sum(size for size, named in asked if named is not None))
    catalogue = Catalogue(op)
    image_ref = wanted.image or defaults.image
    catalogue.resolve_image(image_ref)
    if wanted.kernel is not None:
        catalogue.resolve_kernel(wanted.kernel)
    op.event("spec", text=_describe_sizes(wanted, defaults, spec))
    for notice in notices:
        op.event("notice", text=notice)
    image = catalogue.ensure_image(image_ref)
    spec = _fit_image(wanted, spec, image)
    kernel = catalogue.ensure_kernel(_kernel_reference(wanted, image, defaults.kernel))
    if kernel.arch != image.arch:
        raise UsageError(
            f"the kernel is for {kernel.arch}, the image for {image.arch}", hint="choose a matching pair"
        )
    return Choice(spec, image, kernel, notices, labels)


def _fit_image(wanted: VmChoices, spec: VmSpec, image: Image) -> VmSpec:
    """Return the spec with a root disk that the image fits on; UsageError when a smaller one was asked for."""
    least = -(-image.size_bytes >> 20)
    if spec.overlay_mib >= least:
        return spec
    if wanted.overlay_size is not None:
        raise UsageError(
            f"'{image.name}' is {format_mib(least)} large and does not fit on {format_mib(spec.overlay_mib)}",
            hint=f"--overlay-size {format_mib(least)}, or more",
        )
    return spec.model_copy(update={"overlay_mib": least})


def _describe_sizes(wanted: VmChoices, defaults: Defaults, spec: VmSpec) -> str:
    """Return the sizes in one line, with where those come from that were not asked for."""

    def origin(asked: object, setting: str, otherwise: str) -> str:
        configured = setting in defaults.model_fields_set and getattr(defaults, setting)
        return "" if asked is not None else " (config)" if configured else f" ({otherwise})"

    vcpu = f"{spec.vcpu} vcpu{origin(wanted.vcpu, 'vcpu', 'host/4')}"
    memory = f"{spec.memory_mib} MiB{origin(wanted.memory, 'memory', 'host/8')}"
    disk = f"{format_mib(spec.disk_mib)} disk{origin(wanted.disk_size, 'disk_size', 'default')}"
    return f"spec: {vcpu} | {memory} | {disk}"


def _kernel_reference(wanted: VmChoices, image: Image, configured: str | None) -> str:
    reference = wanted.kernel or image.kernel_ref or configured
    if reference is None:
        raise UsageError(f"nothing says which kernel boots '{image.name}'", hint="name one: --kernel NAME")
    return reference


def _choose_spec(services: Services, wanted: VmChoices) -> tuple[VmSpec, tuple[str, ...]]:
    defaults = services.settings.core.defaults
    network = choose_network(services, wanted.network or defaults.network)
    vmm, notices = _choose_vmm(services, wanted.vmm or defaults.vmm, network, wanted.accel)
    vcpu = wanted.vcpu if wanted.vcpu is not None else default_vcpu(defaults)
    _check_vcpu(vcpu)
    wanted = _with_nat(services, wanted, network)
    usual = usual_capabilities(services, network)
    capabilities = change_capabilities(services, usual, wanted.with_, wanted.without)
    check_capabilities(services, capabilities, network)
    publish = parse_published(wanted.publish)
    check_published(network, publish)
    spec = VmSpec(
        vcpu=vcpu,
        memory_mib=wanted.memory or default_memory_mib(defaults),
        disk_mib=wanted.disk_size or defaults.disk_size,
        overlay_mib=wanted.overlay_size or defaults.overlay_size,
        vmm=vmm.name,
        accel=wanted.accel,
        network=network.name,
        capabilities=capabilities,
        publish=publish,
        auth=choose_auth(services, wanted.auth, capabilities),
        init=wanted.init,
    )
    return spec, notices


def _check_vcpu(vcpu: int) -> None:
    if vcpu < 1:
        raise UsageError(f"{vcpu} vcpu make no machine", hint="--vcpu 1 or more")
    if vcpu > min(255, host_cpus() * 4):
        raise HostError(
            f"{vcpu} vcpu on {host_cpus()} processors would crawl", hint=f"--vcpu {host_cpus()} or fewer"
        )


def check_shape(spec: VmSpec) -> None:
    """Raise unless this host can run a machine of these sizes."""
    _check_vcpu(spec.vcpu)
    _check_sizes(spec)


def _check_sizes(spec: VmSpec) -> None:
    if spec.memory_mib < _LEAST_MEMORY:
        raise UsageError(
            f"{spec.memory_mib} MiB of memory boot nothing", hint=f"--memory {_LEAST_MEMORY}M or more"
        )
    if spec.memory_mib > host_memory_mib():
        raise HostError(
            f"{spec.memory_mib} MiB of memory are more than this host has ({host_memory_mib()} MiB)",
            hint="choose less with --memory",
        )
    for flag, size in (("--disk-size", spec.disk_mib), ("--overlay-size", spec.overlay_mib)):
        if not _LEAST_DISK <= size <= _MOST_DISK:
            raise UsageError(f"{flag} {format_mib(size)} is out of range", hint="64M to 16T")


def _choose_vmm(
    services: Services, name: str | None, network: NetworkMode, accel: str
) -> tuple[Vmm, tuple[str, ...]]:
    vmms = services.registries.vmms
    candidates = [vmms.resolve(name)] if name else sorted(vmms.values(), key=lambda vmm: vmm.priority)
    fitting = [vmm for vmm in candidates if network.attachment in vmm.features.attachments]
    if not fitting:
        what = f"vmm '{name}'" if name else "no vmm"
        raise UsageError(
            f"{what} takes what network '{network.name}' gives ({network.attachment})"
            if not name
            else f"{what} and network '{network.name}' do not go together: it does not take {network.attachment}",
            hint="choose another pair with --vmm and --net",
        )
    probe, notices = None, []
    for vmm in fitting:
        probe = vmm.probe(services.commands, accel)
        # One that has an accelerator, and yet cannot be used, is one that the user has put here.
        if probe.reason and (probe.usable or probe.accelerator):
            said = probe.reason if probe.usable else f"not in {vmm.name}: {probe.reason}"
            notices.append(f"{said}; {probe.hint}" if probe.hint else said)
        if probe.usable:
            return vmm, tuple(notices)
    raise VmmError(
        (probe.reason if probe else None) or "no VMM is usable here", hint=(probe.hint if probe else None)
    )


def _with_nat(services: Services, wanted: VmChoices, network: NetworkMode) -> VmChoices:
    """Turn ``--nat`` into the capability of that name; nothing is to be turned on where the network leads out anyway.

    :raises UsageError: neither is there, or it was turned off in the same breath.
    """
    if not wanted.nat:
        return wanted
    if "nat" in wanted.without:
        raise UsageError("--nat and --without nat contradict each other", hint="give one of them")
    if find_nat(services, network) is not None:
        named = any(text.partition(":")[0] == "nat" for text in wanted.with_)
        return wanted if named else wanted.model_copy(update={"with_": (*wanted.with_, "nat")})
    if leads_out(services, network):
        return wanted
    raise UsageError(
        f"network '{network.name}' has no way out, and no plugin offers nat",
        hint="a network that has one: --net user; what is installed: banger plugins list",
    )
