"""What a new VM will be: flags over configuration over the host's size, checked before anything is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from banger.config.settings import Defaults, load_model
from banger.config.sizes import (
    default_memory_mib,
    default_vcpu,
    host_cpus,
    host_memory_mib,
)
from banger.daemon.context import OperationContext
from banger.daemon.lending import check_lent, choose_auth
from banger.daemon.pulls import Catalogue
from banger.daemon.room import check_disk_room, check_room
from banger.daemon.services import Services
from banger.errors import BangerError, ConflictError, HostError, NetworkError, UsageError, VmmError
from banger.model.capability import Capability
from banger.model.image import Image, Kernel
from banger.model.label import parse_labels
from banger.model.name import check_vm_name, unknown_hint
from banger.model.network import NetworkMode
from banger.model.size import format_mib, parse_size
from banger.model.validation import describe_refusal
from banger.model.vm import Init, PublishedPort, VmSpec
from banger.model.vmm import Vmm

#: The least memory that a distribution boots in, and what a work disk and a root disk need, MiB.
_LEAST_MEMORY, _LEAST_DISK = 128, 64
#: The most that ext4 with 4 KiB blocks holds, MiB (16 TiB).
_MOST_DISK = 16 * 1024 * 1024
#: The network chosen when nobody says, first that is there.
_NETWORKS = ("bridge", "user")


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
    network = _choose_network(services, wanted.network or defaults.network)
    vmm, notices = _choose_vmm(services, wanted.vmm or defaults.vmm, network, wanted.accel)
    vcpu = wanted.vcpu if wanted.vcpu is not None else default_vcpu(defaults)
    _check_vcpu(vcpu)
    capabilities = _choose_capabilities(services, _with_nat(services, wanted, network), network)
    spec = VmSpec(
        vcpu=vcpu,
        memory_mib=wanted.memory or default_memory_mib(defaults),
        disk_mib=wanted.disk_size or defaults.disk_size,
        overlay_mib=wanted.overlay_size or defaults.overlay_size,
        vmm=vmm.name,
        accel=wanted.accel,
        network=network.name,
        capabilities=capabilities,
        publish=parse_published(wanted.publish),
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


def _choose_network(services: Services, name: str | None) -> NetworkMode:
    networks = services.registries.networks
    if name is not None:
        return networks.resolve(name)
    for candidate in (networks[name] for name in _NETWORKS if name in networks):
        if candidate.offered is None or candidate.offered():
            return candidate
    raise NetworkError("no plugin offers a network", hint="see: banger plugins list")


def find_egress(
    services: Services, name: str | None, with_: frozenset[str], without: frozenset[str]
) -> tuple[str, bool]:
    """Return the network that a VM would be in, and whether it has a way out there: the network's own, or by nat."""
    network = _choose_network(services, name or services.settings.core.defaults.network)
    nat = _find_nat(services, network)
    if nat is not None and "nat" not in without and (nat.default or "nat" in with_):
        return network.name, True
    return network.name, _leads_out(services, network)


def _find_nat(services: Services, network: NetworkMode) -> Capability | None:
    """Return the capability nat, where a network's VMs can have it."""
    nat = services.registries.capabilities.get("nat")
    return nat if nat is not None and nat.fits(network.attachment) else None


def _leads_out(services: Services, network: NetworkMode) -> bool:
    """Tell whether a network gives its VMs a way out, as its plugin is configured."""
    if network.leads_out is None:
        return "egress" in network.gives
    return network.leads_out(services.settings_of_network(network.name))


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
    probe = None
    for vmm in fitting:
        probe = vmm.probe(services.commands, accel)
        if probe.usable:
            notices = (
                (f"{probe.reason}; {probe.hint}" if probe.hint else probe.reason,) if probe.reason else ()
            )
            return vmm, tuple(notice for notice in notices if notice)
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
    if _find_nat(services, network) is not None:
        named = any(text.partition(":")[0] == "nat" for text in wanted.with_)
        return wanted if named else wanted.model_copy(update={"with_": (*wanted.with_, "nat")})
    if _leads_out(services, network):
        return wanted
    raise UsageError(
        f"network '{network.name}' has no way out, and no plugin offers nat",
        hint="a network that has one: --net user; what is installed: banger plugins list",
    )


def _choose_capabilities(
    services: Services, wanted: VmChoices, network: NetworkMode
) -> dict[str, dict[str, Any]]:
    table = services.registries.capabilities
    default = {
        name: _check_options(services, name, {})
        for name, value in table.items()
        if value.default and value.fits(network.attachment)
    }
    chosen = change_capabilities(services, default, wanted.with_, wanted.without)
    check_capabilities(services, chosen, network)
    return chosen


def check_capabilities(services: Services, names: Iterable[str], network: NetworkMode) -> None:
    """Raise UsageError where one of a VM's capabilities is not for VMs on this network."""
    table = services.registries.capabilities
    for name in names:
        if name in table and not table[name].fits(network.attachment):
            raise UsageError(
                f"capability '{name}' is not for VMs on network '{network.name}'",
                hint=f"--without {name}, or another network: --net",
            )


def move_capabilities(
    services: Services, now: Mapping[str, dict[str, Any]], before: NetworkMode | None, after: NetworkMode
) -> dict[str, dict[str, Any]]:
    """Return what a VM has that changes its network: those of the one go, and those that are usual on the other come.

    :param before: None when the plugin that had it is gone.
    """
    table = services.registries.capabilities
    moved = {
        name: options
        for name, options in now.items()
        if name not in table or table[name].fits(after.attachment)
    }
    for name, value in table.items():
        new = before is None or not value.fits(before.attachment)
        if value.default and new and value.fits(after.attachment) and name not in moved:
            moved[name] = _check_options(services, name, {})
    return moved


def change_capabilities(
    services: Services, now: Mapping[str, dict[str, Any]], on: tuple[str, ...], off: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Return capabilities with some turned on, or given other options, and some turned off.

    :param on: ``NAME[:key=value,…]`` texts; options that are not named stay. :param off: names.
    """
    table, chosen = services.registries.capabilities, dict(now)
    for name in off:
        table.resolve(name)
        chosen.pop(name, None)
    for text in on:
        name, _, given = text.partition(":")
        table.resolve(name)
        if name in off:
            raise UsageError(
                f"--with {name} and --without {name} contradict each other", hint="give one of them"
            )
        options = {**chosen.get(name, {}), **_parse_options(name, given)}
        chosen[name] = _check_options(services, name, options)
    return chosen


def _parse_options(name: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(
                f"--with {name}: '{part[:80]}' is not key=value", hint=f"--with {name}:key=value,key=value"
            )
        options[key] = value
    return options


def _check_options(services: Services, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    capability = services.registries.capabilities[name]
    if capability.options is None:
        if options:
            raise UsageError(f"capability '{name}' has no options", hint=f"--with {name}")
        return {}
    model = load_model(capability.options, services.registries.capabilities.owner(name))
    try:
        checked: BaseModel = model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = f"options: {', '.join(model.model_fields)}"
        if first["type"] == "extra_forbidden":
            hint = unknown_hint(key, model.model_fields, hint)
        what = "is no option of it" if first["type"] == "extra_forbidden" else describe_refusal(first)
        raise UsageError(f"--with {name}: {key} {what}", hint=hint) from error
    return checked.model_dump(mode="json")


def parse_published(texts: tuple[str, ...]) -> tuple[PublishedPort, ...]:
    """Return published ports from ``PORT`` or ``HOST:GUEST`` texts; UsageError when one is no port or given twice."""
    ports: list[PublishedPort] = []
    for text in texts:
        host, colon, guest = text.partition(":")
        numbers = [host, guest] if colon else [host, host]
        if not all(_is_port(number) for number in numbers):
            raise UsageError(
                f"--publish {text[:40]} is not a port", hint="--publish 8080 or --publish 8080:80"
            )
        port = PublishedPort(host=int(numbers[0]), guest=int(numbers[1]))
        if any(port.host == other.host for other in ports):
            raise UsageError(f"port {port.host} is published twice", hint="give each host port once")
        ports.append(port)
    return tuple(ports)


def _is_port(text: str) -> bool:
    # The length comes first: Python refuses to read a number of thousands of digits.
    return len(text) <= 5 and text.isascii() and text.isdigit() and 1 <= int(text) <= 65535


def problem_of(error: ValidationError, operation: str) -> BangerError:
    """Return the error for parameters that do not fit an operation's model: the first one, with its path."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, BangerError):
        return cause
    path = ".".join(str(part) for part in first["loc"]) or "parameters"
    command = " ".join(operation.split(".")[:2])
    return UsageError(f"{path} {describe_refusal(first)}", hint=f"banger {command} --help")
