"""What the fault matrix runs on: banger's own plugins, a VMM that is a small process, and a third party's steps."""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from banger.guest import wire
from banger.host.command import Completed, HostCommands
from banger.host.disk import HostDisks
from banger.model.capability import Capability
from banger.model.network import QemuUser
from banger.model.source import ImageSource, PullContext, PulledImage
from banger.model.vmm import LaunchPlan, LaunchSpec, Vmm, VmmFeatures, VmmProbe
from banger.start.context import StartContext, UndoContext
from banger.start.step import StartStep
from banger.testing.plugin_sets import make_plugin
from banger_snapshots import create, restore
from banger_snapshots.shelf import Shelf
from banger_vmm_qemu import process

ROOT = Path(__file__).parents[3]
CONFIG = """
[defaults]
image = "test-image"
kernel = "test-kernel"
memory = 128
vmm = "paper"
network = "{network}"
"""
#: Built-in plugins that would reach beyond the test's own directories; their step `names` holds no more than a note.
LEFT_OUT = frozenset({"dns"})


#: What operations are made of that are neither steps nor rows: place, module or class, function.
PLACES = (
    ("copy disks", create, "copy_disks"),
    ("describe snapshot", create, "describe"),
    ("put snapshot", Shelf, "put"),
    ("take snapshot", Shelf, "take"),
    ("copy snapshot", restore, "copy_disks"),
    ("decide restore", restore, "decide"),
    ("move disk", restore, "move"),
)


class PaperCommands(HostCommands):
    """The host's programs, but those that make disks: their files are there already, empty."""

    def run(self, argv: Sequence[str | Path], **options: Any) -> Completed:
        if argv[0] in ("mke2fs", "qemu-img"):
            return Completed(tuple(map(str, argv)), 0, b"", b"")
        return super().run(argv, **options)


class PaperDisks(HostDisks):
    """Disks of which those that a test wrote by hand, and nobody boots, are as large as they are."""

    def grow(self, path: Path, kind: str, size_mib: int) -> None:
        with open(path, "rb") as file:
            if kind == "raw" or file.read(4) == b"QFI\xfb":  # a qcow2 file's first bytes
                super().grow(path, kind, size_mib)


def _build(spec: LaunchSpec, probe: VmmProbe) -> LaunchPlan:
    program = Path(__file__).with_name("paper_guest.py")
    line = [sys.executable, "-I", "-S", str(program), wire.MAGIC.hex(), str(len(wire.PREAMBLE))]
    line += ["-uuid", str(uuid.UUID(spec.vm_id)), "-channel", str(spec.channel)]
    if isinstance(spec.attachment, QemuUser):
        for forward in spec.attachment.forwards:
            line += ["-forward", f"{forward.host_address}:{forward.host_port}"]
    return LaunchPlan(tuple(line), "tcg", "paper")


def banger_register_vmms() -> list[Vmm]:
    """Declare a VMM whose processes are found and ended as QEMU's are."""
    return [
        Vmm(
            "paper",
            "a small process in the place of a machine",
            VmmFeatures(frozenset({"qemu-user", "tap"}), frozenset({"raw", "qcow2"}), "virtio-serial"),
            1,
            guest_modules=(),
            probe=lambda commands, accel: VmmProbe(True, "1", "tcg"),
            build=_build,
            launch=process.launch,
            find_process=process.find,
            kill=process.kill,
        )
    ]


def _pull(reference: str, ctx: PullContext) -> PulledImage:
    """Leave a file with an ext4 superblock whose UUID the reference gives."""
    rootfs = ctx.staging / "rootfs.ext4"
    content = bytearray(4096)
    content[1024 + 56 : 1024 + 58] = b"\x53\xef"
    content[1024 + 0x68 : 1024 + 0x78] = hashlib.sha256(reference.encode()).digest()[:16]
    rootfs.write_bytes(content)
    ctx.progress("written")
    return PulledImage(rootfs, "debian")


def banger_register_image_sources() -> list[ImageSource]:
    """Declare where images on paper come from."""
    return [ImageSource("paper", "images on paper", lambda rest: f"paper-{rest}", _pull)]


def _lease(ctx: StartContext | UndoContext) -> Path:
    return ctx.paths.sockets / "lease"


def _take_lease(ctx: StartContext) -> None:
    ctx.record("path", str(_lease(ctx)))
    _lease(ctx).write_text("taken")


def _drop_lease(ctx: UndoContext) -> None:
    _lease(ctx).unlink(missing_ok=True)


def _make_notes(ctx: StartContext) -> None:
    ctx.record("path", str(ctx.paths.directory / "notes"))
    (ctx.paths.directory / "notes").write_text("made")


def _remove_notes(ctx: UndoContext) -> None:
    (ctx.paths.directory / "notes").unlink(missing_ok=True)


def _quiesce(ctx: UndoContext) -> None:
    assert isinstance(ctx.section, Mapping)


def third_party_register_start_steps() -> list[StartStep]:
    """Declare a step that holds something as long as the VM runs."""
    return [StartStep("lease", _take_lease, ("preflight",), ("disks-ready",), undo=_drop_lease)]


def third_party_register_capabilities() -> list[Capability]:
    """Declare one that makes something which stays as long as the VM, and does something before power-off."""
    step = StartStep(
        "notes", _make_notes, ("guest-ready",), ("started",), remove=_remove_notes, quiesce=_quiesce
    )
    return [Capability("notes", "a third party's", default=True, steps=(step,))]


def make_plugins() -> list[ModuleType]:
    """Return the lab's plugin and the third party's."""
    third_party_register_start_steps.__name__ = "banger_register_start_steps"
    third_party_register_capabilities.__name__ = "banger_register_capabilities"
    return [
        make_plugin("lab", banger_register_vmms, banger_register_image_sources),
        make_plugin("third-party", third_party_register_start_steps, third_party_register_capabilities),
    ]
