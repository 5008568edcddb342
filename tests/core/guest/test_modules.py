from __future__ import annotations

import gzip
import lzma

import pytest
import zstandard

from banger.errors import KernelError
from banger.guest import modules

DEP = """\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/net/core/failover.ko:
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko
kernel/drivers/char/hw_random/virtio-rng.ko:
"""
BUILTIN = "kernel/fs/ext4/ext4.ko\n"


def resolve(*names: str) -> list[str]:
    return [
        modules.module_name(p)
        for p in modules.resolve_modules(names, modules_dep=DEP, modules_builtin=BUILTIN)
    ]


def test_dependencies_come_first_and_once() -> None:
    assert resolve("virtio_blk", "virtio", "virtio_net") == [
        "virtio_ring",
        "virtio",
        "virtio_blk",
        "failover",
        "net_failover",
        "virtio_net",
    ]


def test_dashes_are_underscores_and_built_in_needs_nothing() -> None:
    assert resolve("virtio_rng", "virtio-rng", "ext4") == ["virtio_rng"]


def test_an_unknown_module_is_named() -> None:
    with pytest.raises(KernelError, match="virtio_warp"):
        resolve("virtio_warp")


@pytest.mark.parametrize("dep", ["a.ko: b.ko\nb.ko: a.ko\n", "a.ko: b.ko\n"])
def test_a_broken_modules_dep_is_refused(dep: str) -> None:
    with pytest.raises(KernelError):
        modules.resolve_modules(["a"], modules_dep=dep, modules_builtin="")


ELF = b"\x7fELF" + bytes(1000)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m.ko", ELF),
        ("m.ko.xz", lzma.compress(ELF)),
        ("m.ko.gz", gzip.compress(ELF)),
        ("m.ko.zst", zstandard.compress(ELF)),
    ],
)
def test_modules_are_decompressed(name: str, data: bytes) -> None:
    assert modules.decompress_module(name, data) == ELF


@pytest.mark.parametrize("name", ["m.ko", "m.ko.xz", "m.ko.gz", "m.ko.zst"])
def test_damaged_modules_are_refused(name: str) -> None:
    with pytest.raises(KernelError, match="m.ko"):
        modules.decompress_module(name, b"garbage")


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "MAX_MODULE", 500)
    with pytest.raises(KernelError, match="larger"):
        modules.decompress_module("m.ko.xz", lzma.compress(ELF))
