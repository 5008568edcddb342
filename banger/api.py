"""The only module of banger that a plugin imports.

A lazy façade (PEP 562): importing it costs nothing, and a name is imported from its home when it is first used. What is
not in ``__all__`` may change any day.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from banger.build import build_info as build_info
    from banger.cli.client import Client as Client
    from banger.cli.cp import send_directory as send_directory
    from banger.cli.extension import Extension as Extension
    from banger.cli.extension import Place as Place
    from banger.cli.extension import Work as Work
    from banger.cli.extension import open_handover as open_handover
    from banger.cli.filter import filter_option as filter_option
    from banger.cli.filter import make_filter as make_filter
    from banger.cli.output import Progress as Progress
    from banger.cli.output import clean as clean
    from banger.cli.output import green as green
    from banger.cli.output import print_json as print_json
    from banger.cli.output import print_pairs as print_pairs
    from banger.cli.output import print_table as print_table
    from banger.cli.output import red as red
    from banger.cli.output import say as say
    from banger.cli.pipe import Ended as Ended
    from banger.cli.pipe import Pipe as Pipe
    from banger.cli.pipe import run_piped as run_piped
    from banger.cli.terminal import open_stream as open_stream
    from banger.cli.vm import run_operation as run_operation
    from banger.cli.vm_exec import run_in_vm as run_in_vm
    from banger.config.install import INSTALL as INSTALL
    from banger.config.install import Install as Install
    from banger.config.install import find_install as find_install
    from banger.config.paths import NAME_ROUTES as NAME_ROUTES
    from banger.config.paths import SYSTEM_CACHE as SYSTEM_CACHE
    from banger.config.paths import SYSTEM_CONFIG as SYSTEM_CONFIG
    from banger.config.paths import SYSTEM_SOCKET as SYSTEM_SOCKET
    from banger.config.paths import SYSTEM_STATE as SYSTEM_STATE
    from banger.config.paths import find_state as find_state
    from banger.daemon.context import OperationContext as OperationContext
    from banger.daemon.supervisor import ServiceContext as ServiceContext
    from banger.errors import BangerError as BangerError
    from banger.errors import CancelledError as CancelledError
    from banger.errors import ConfigError as ConfigError
    from banger.errors import ConflictError as ConflictError
    from banger.errors import DaemonError as DaemonError
    from banger.errors import GuestError as GuestError
    from banger.errors import HostError as HostError
    from banger.errors import ImageError as ImageError
    from banger.errors import KernelError as KernelError
    from banger.errors import LoginError as LoginError
    from banger.errors import NetworkError as NetworkError
    from banger.errors import NotFoundError as NotFoundError
    from banger.errors import PluginError as PluginError
    from banger.errors import StartError as StartError
    from banger.errors import UsageError as UsageError
    from banger.errors import VmmError as VmmError
    from banger.guest.wire import clean_text as clean_text
    from banger.helper.requests import AllowNat as AllowNat
    from banger.helper.requests import ClaimTap as ClaimTap
    from banger.helper.requests import CreateTap as CreateTap
    from banger.helper.requests import DenyNat as DenyNat
    from banger.helper.requests import DropNames as DropNames
    from banger.helper.requests import EnsureBridge as EnsureBridge
    from banger.helper.requests import GuardTap as GuardTap
    from banger.helper.requests import LaunchJail as LaunchJail
    from banger.helper.requests import RemoveBridge as RemoveBridge
    from banger.helper.requests import RemoveJail as RemoveJail
    from banger.helper.requests import RemoveTap as RemoveTap
    from banger.helper.requests import RouteNames as RouteNames
    from banger.helper.requests import ShowBridge as ShowBridge
    from banger.helper.requests import ShowJail as ShowJail
    from banger.helper.requests import ShowNat as ShowNat
    from banger.helper.requests import ShowStatus as ShowStatus
    from banger.helper.requests import SignalJail as SignalJail
    from banger.host.caller import Login as Login
    from banger.host.caller import find_authorities as find_authorities
    from banger.host.caller import find_login as find_login
    from banger.host.caller import find_proxy as find_proxy
    from banger.host.command import Commands as Commands
    from banger.host.command import Completed as Completed
    from banger.host.command import HostCommands as HostCommands
    from banger.host.command import failed_program as failed_program
    from banger.host.copy import copy_disk as copy_disk
    from banger.host.disk import Disks as Disks
    from banger.host.disk import allocated_bytes as allocated_bytes
    from banger.host.disk import digest_file as digest_file
    from banger.host.disk import has_ext4 as has_ext4
    from banger.host.folder import remove_tree as remove_tree
    from banger.host.kernel_file import extract_vmlinux as extract_vmlinux
    from banger.host.kernel_file import inspect_kernel as inspect_kernel
    from banger.host.kvm import probe_kvm as probe_kvm
    from banger.host.kvm import processor_flags as processor_flags
    from banger.host.privileged import HostPrivileged as HostPrivileged
    from banger.host.privileged import Privileged as Privileged
    from banger.host.process import process_start_time as process_start_time
    from banger.host.storage import shares_blocks as shares_blocks
    from banger.host.vmm_process import end_vmm as end_vmm
    from banger.host.vmm_process import find_vmm as find_vmm
    from banger.host.vmm_process import spawn_vmm as spawn_vmm
    from banger.host.vmm_process import wait_vmm_open as wait_vmm_open
    from banger.model.auth import AuthSync as AuthSync
    from banger.model.capability import Capability as Capability
    from banger.model.capability import GuestConfig as GuestConfig
    from banger.model.capability import GuestMount as GuestMount
    from banger.model.check import Check as Check
    from banger.model.check import CheckResult as CheckResult
    from banger.model.check import CheckStatus as CheckStatus
    from banger.model.command import Command as Command
    from banger.model.command import Operation as Operation
    from banger.model.hook import hookimpl as hookimpl
    from banger.model.image import Image as Image
    from banger.model.image import Kernel as Kernel
    from banger.model.network import GuestInterface as GuestInterface
    from banger.model.network import HostForward as HostForward
    from banger.model.network import NetAttachment as NetAttachment
    from banger.model.network import NetworkMode as NetworkMode
    from banger.model.network import QemuUser as QemuUser
    from banger.model.network import Tap as Tap
    from banger.model.service import RunningVm as RunningVm
    from banger.model.service import Service as Service
    from banger.model.service import ServiceStatus as ServiceStatus
    from banger.model.size import format_bytes as format_bytes
    from banger.model.size import parse_size as parse_size
    from banger.model.source import ImageSource as ImageSource
    from banger.model.source import KernelSource as KernelSource
    from banger.model.source import Offer as Offer
    from banger.model.source import OfferContext as OfferContext
    from banger.model.source import PullContext as PullContext
    from banger.model.source import PulledImage as PulledImage
    from banger.model.source import PulledKernel as PulledKernel
    from banger.model.vm import PublishedPort as PublishedPort
    from banger.model.vm import Vm as Vm
    from banger.model.vm import VmSpec as VmSpec
    from banger.model.vm import VmState as VmState
    from banger.model.vmm import Drive as Drive
    from banger.model.vmm import LaunchPlan as LaunchPlan
    from banger.model.vmm import LaunchSpec as LaunchSpec
    from banger.model.vmm import Vmm as Vmm
    from banger.model.vmm import VmmFeatures as VmmFeatures
    from banger.model.vmm import VmmProbe as VmmProbe
    from banger.model.vmm import VmmStatus as VmmStatus
    from banger.start.context import StartContext as StartContext
    from banger.start.context import UndoContext as UndoContext
    from banger.start.context import VmPaths as VmPaths
    from banger.start.step import MILESTONES as MILESTONES
    from banger.start.step import StartStep as StartStep
    from banger.transfer.archive import MANIFEST_LIMIT as MANIFEST_LIMIT
    from banger.transfer.archive import ArchiveReader as ArchiveReader
    from banger.transfer.archive import ArchiveWriter as ArchiveWriter
    from banger.transfer.connections import TRIES as TRIES
    from banger.transfer.connections import Connections as Connections
    from banger.transfer.download import Wanted as Wanted
    from banger.transfer.download import download as download
    from banger.transfer.download import find_pause as find_pause
    from banger.transfer.download import retry_later as retry_later

#: module -> the names it is home to.
_HOMES = {
    "banger.build": "build_info",
    "banger.cli.client": "Client",
    "banger.cli.cp": "send_directory",
    "banger.cli.extension": "Extension Place Work open_handover",
    "banger.cli.filter": "filter_option make_filter",
    "banger.cli.output": "Progress clean green print_json print_pairs print_table red say",
    "banger.cli.pipe": "Ended Pipe run_piped",
    "banger.cli.terminal": "open_stream",
    "banger.cli.vm": "run_operation",
    "banger.cli.vm_exec": "run_in_vm",
    "banger.config.install": "INSTALL Install find_install",
    "banger.config.paths": "NAME_ROUTES SYSTEM_CACHE SYSTEM_CONFIG SYSTEM_SOCKET SYSTEM_STATE find_state",
    "banger.daemon.context": "OperationContext",
    "banger.daemon.supervisor": "ServiceContext",
    "banger.errors": (
        "BangerError CancelledError ConfigError ConflictError DaemonError GuestError HostError ImageError "
        "KernelError "
        "LoginError NetworkError NotFoundError PluginError StartError UsageError VmmError"
    ),
    "banger.transfer.archive": "MANIFEST_LIMIT ArchiveReader ArchiveWriter",
    "banger.guest.wire": "clean_text",
    "banger.helper.requests": (
        "AllowNat ClaimTap CreateTap DenyNat DropNames EnsureBridge GuardTap LaunchJail RemoveBridge RemoveJail "
        "RemoveTap RouteNames ShowBridge ShowJail ShowNat ShowStatus SignalJail"
    ),
    "banger.host.kernel_file": "extract_vmlinux inspect_kernel",
    "banger.host.kvm": "probe_kvm processor_flags",
    "banger.host.privileged": "HostPrivileged Privileged",
    "banger.host.caller": "Login find_authorities find_login find_proxy",
    "banger.host.command": "Commands Completed HostCommands failed_program",
    "banger.host.copy": "copy_disk",
    "banger.host.disk": "Disks allocated_bytes digest_file has_ext4",
    "banger.host.folder": "remove_tree",
    "banger.transfer.connections": "TRIES Connections",
    "banger.transfer.download": "Wanted download find_pause retry_later",
    "banger.host.process": "process_start_time",
    "banger.host.storage": "shares_blocks",
    "banger.host.vmm_process": "end_vmm find_vmm spawn_vmm wait_vmm_open",
    "banger.model.auth": "AuthSync",
    "banger.model.capability": "Capability GuestConfig GuestMount",
    "banger.model.check": "Check CheckResult CheckStatus",
    "banger.model.command": "Command Operation",
    "banger.model.hook": "hookimpl",
    "banger.model.image": "Image Kernel",
    "banger.model.network": "GuestInterface HostForward NetAttachment NetworkMode QemuUser Tap",
    "banger.model.service": "RunningVm Service ServiceStatus",
    "banger.model.size": "format_bytes parse_size",
    "banger.model.source": "ImageSource KernelSource Offer OfferContext PullContext PulledImage PulledKernel",
    "banger.model.vm": "PublishedPort Vm VmSpec VmState",
    "banger.model.vmm": "Drive LaunchPlan LaunchSpec Vmm VmmFeatures VmmProbe VmmStatus",
    "banger.start.context": "StartContext UndoContext VmPaths",
    "banger.start.step": "MILESTONES StartStep",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"banger.api has no {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
