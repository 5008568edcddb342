"""The parts of Firecracker's API that are used, as it names them (docs: its ``swagger/firecracker.yaml``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """The body of one request; None is left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MachineConfig(Part):
    """``/machine-config``."""

    vcpu_count: int
    mem_size_mib: int


class BootSource(Part):
    """``/boot-source``: paths as Firecracker sees them."""

    kernel_image_path: str
    initrd_path: str
    boot_args: str


class BlockDevice(Part):
    """``/drives/{drive_id}``. With ``Writeback`` a guest's flush reaches the host's disk."""

    drive_id: str
    path_on_host: str
    is_root_device: bool = False
    is_read_only: bool = False
    cache_type: Literal["Unsafe", "Writeback"] = "Writeback"


class NetworkInterface(Part):
    """``/network-interfaces/{iface_id}``: a tap that is there."""

    iface_id: str
    host_dev_name: str
    guest_mac: str


class Vsock(Part):
    """``/vsock``: guest ports behind one Unix socket."""

    guest_cid: int
    uds_path: str


class Metrics(Part):
    """``/metrics``: a file that a line of JSON is appended to each minute."""

    metrics_path: str


class Entropy(Part):
    """``/entropy``: a virtio-rng device."""


class Action(Part):
    """``/actions``."""

    action_type: Literal["InstanceStart", "FlushMetrics"]


class VmState(Part):
    """``PATCH /vm``."""

    state: Literal["Paused", "Resumed"]


class Machine(Part):
    """A whole machine."""

    machine: MachineConfig
    boot: BootSource
    drives: tuple[BlockDevice, ...]
    networks: tuple[NetworkInterface, ...]
    vsock: Vsock
    metrics: Metrics

    def requests(self) -> Iterator[tuple[str, Part]]:
        """Yield the requests that make it, all ``PUT``, in order."""
        yield "/machine-config", self.machine
        yield "/boot-source", self.boot
        for drive in self.drives:
            yield f"/drives/{drive.drive_id}", drive
        for network in self.networks:
            yield f"/network-interfaces/{network.iface_id}", network
        yield "/vsock", self.vsock
        yield "/entropy", Entropy()
        yield "/metrics", self.metrics
