"""What a VM is: the durable record. What is true *now* lives in memory and in ``handles.json``."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class VmState(StrEnum):
    """Where a VM is in its life."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR = "error"


class PublishedPort(BaseModel):
    """A guest TCP port reachable from the host."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    guest: int = Field(ge=1, le=65535)
    host: int = Field(ge=1, le=65535)


#: Which init: the image's own, or the agent where it has none; always the agent; one that its distribution's package
#: manager installs, with sshd, when the VM starts for the first time.
Init = Literal["image", "agent", "provisioned"]


class VmSpec(BaseModel):
    """What was asked for, every default filled in. Sizes are MiB."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vcpu: int = Field(ge=1, le=255)
    memory_mib: int = Field(ge=1)
    disk_mib: int = Field(ge=1, description="work disk, as the guest sees it")
    overlay_mib: int = Field(ge=1, description="root disk, as the guest sees it")
    vmm: str
    #: ``auto``, ``kvm`` or ``tcg``.
    accel: str = "auto"
    network: str
    #: capability name -> its options; only those that are on.
    capabilities: dict[str, dict[str, Any]] = Field(default_factory=dict)
    publish: tuple[PublishedPort, ...] = ()
    #: Names of what the user lends it; ``none`` alone: nothing, not even what is configured for every VM.
    auth: tuple[str, ...] = ()
    init: Init = "image"


class Vm(BaseModel):
    """One VM's row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    name: str
    state: VmState
    spec: VmSpec
    #: What it was started with, where that is no longer ``spec``, which it gets at its next start.
    running_spec: VmSpec | None = None
    #: What the user calls it besides its name, to find it again by.
    labels: dict[str, str] = Field(default_factory=dict)
    image: str = Field(description="digest of the image this VM is pinned to")
    kernel: str = Field(description="digest of the kernel this VM is pinned to")
    image_name: str
    kernel_name: str
    #: The VM's own address on the host, given by its network mode at create.
    address: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    #: Whether its first start has installed an init and sshd, where ``spec.init`` asks for that.
    provisioned: bool = False
    #: When somebody last said that it is in use.
    touched_at: datetime | None = None
    last_error: str | None = None
    #: Whether its deletion has begun: its disks are gone, or may be.
    deleting: bool = False
    #: Seconds that each stage of the last start took, in order.
    timings: dict[str, float] = Field(default_factory=dict)

    @property
    def present_spec(self) -> VmSpec:
        """What it has now."""
        return self.running_spec or self.spec
