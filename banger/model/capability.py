"""Capabilities: named switches of a VM, each bringing steps, drives and guest configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from banger.model.check import Check
    from banger.model.vmm import Drive
    from banger.start.context import StartContext
    from banger.start.step import StartStep


@dataclass(frozen=True, slots=True)
class GuestMount:
    """A file system the agent mounts before the init starts: found by UUID, mounted on ``target``."""

    uuid: str
    target: str
    fstype: str = "ext4"
    options: str = ""


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """What a capability adds to the guest's configuration."""

    mounts: tuple[GuestMount, ...] = ()


@dataclass(frozen=True, slots=True)
class Capability:
    """A named switch per VM: ``--with NAME[:key=value,…]`` and ``--without NAME``; kept in the VM's record.

    :param default: on unless ``--without`` is given.
    :param options: ``"module:Class"`` of a frozen pydantic model of its options, unknown keys refused; None for none.
    :param steps: in the plan only when the capability is on.
    :param drives: disks to attach, called after the milestone ``disks-ready``.
    :param guest_config: configuration for the guest, called just before boot.
    :param attachments: kinds of network attachment it is for (``tap``), on by default there only; None: all.
    :param lends: what the user lends a VM that is made with it, as by ``--auth``; with ``--auth none`` nothing.
    """

    name: str
    summary: str
    default: bool = False
    options: str | None = None
    steps: tuple[StartStep, ...] = ()
    checks: tuple[Check, ...] = ()
    drives: Callable[[StartContext, Mapping[str, Any]], tuple[Drive, ...]] | None = None
    guest_config: Callable[[StartContext, Mapping[str, Any]], GuestConfig] | None = None
    lends: tuple[str, ...] = ()
    attachments: frozenset[str] | None = None

    def fits(self, attachment: str) -> bool:
        """Tell whether it is for VMs that are attached like this."""
        return self.attachments is None or attachment in self.attachments
