"""Making, attaching and removing the disk with the greeting."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from banger.api import Drive, GuestConfig, GuestMount, StartContext, UndoContext, VmPaths

_NAMESPACE = uuid.UUID("5b1d6c0e-7a5c-4c55-9f57-0d6a2f2f8a11")


def make(ctx: StartContext) -> None:
    """Write the greeting and make a disk of it, at the first start only."""
    if ctx.recorded().get("made"):
        return
    ctx.record("path", str(_disk(ctx.paths)))  # before there is anything to take back
    content = ctx.paths.directory / "hello"
    content.mkdir(exist_ok=True)
    (content / "greeting").write_text(f"Hello, {ctx.options('hello')['to']}! This is {ctx.vm.name}.\n")
    ctx.disks.make_ext4(
        _disk(ctx.paths), 16, uuid=_disk_uuid(ctx.vm.id), label="banger-hello", content=content
    )
    ctx.record("made", True)


def remove(ctx: UndoContext) -> None:
    """Take it all away, whether ``make`` got to its end or not."""
    _disk(ctx.paths).unlink(missing_ok=True)
    (ctx.paths.directory / "hello" / "greeting").unlink(missing_ok=True)
    if (ctx.paths.directory / "hello").exists():
        (ctx.paths.directory / "hello").rmdir()


def drives(ctx: StartContext, options: Mapping[str, Any]) -> tuple[Drive, ...]:
    """Return the disk to attach."""
    return (Drive("hello", _disk(ctx.paths)),)


def guest_config(ctx: StartContext, options: Mapping[str, Any]) -> GuestConfig:
    """Return where the guest mounts it."""
    return GuestConfig(mounts=(GuestMount(_disk_uuid(ctx.vm.id), "/hello", options="ro"),))


def _disk(paths: VmPaths) -> Path:
    return paths.directory / "hello.ext4"


def _disk_uuid(vm_id: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, vm_id))
