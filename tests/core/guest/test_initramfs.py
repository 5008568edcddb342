from __future__ import annotations

import json
from pathlib import Path

import pytest

from banger.errors import HostError
from banger.guest import initramfs


def read_cpio(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by name, of archives one after the other."""
    entries: dict[str, tuple[int, bytes]] = {}
    at = 0
    while at < len(data):
        if data[at] == 0:
            at += 1
            continue
        assert data[at : at + 6] == b"070701"
        assert at % 4 == 0
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        start = (at + 110 + fields[11] + 3) & ~3
        content = data[start : start + fields[6]]
        at = (start + fields[6] + 3) & ~3
        if name != "TRAILER!!!":
            entries[name] = (fields[1], content)
    return entries


def test_the_base_holds_agent_and_modules_in_order(tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    agent.write_bytes(b"program")
    modules = [("virtio_ring", b"one"), ("virtio_blk.ko", b"two!!")]
    initramfs.write_base(tmp_path / "base", agent, modules)
    entries = read_cpio((tmp_path / "base").read_bytes())
    assert entries["init"] == (0o100755, b"program")
    assert entries["banger/modules/list"][1] == b"000-virtio_ring.ko\n001-virtio_blk.ko\n"
    assert entries["banger/modules/001-virtio_blk.ko"][1] == b"two!!"
    assert entries["dev/console"][0] == 0o020600


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    assert initramfs.base_archive(b"a", [("m", b"x")]) == initramfs.base_archive(b"a", [("m", b"x")])
    assert initramfs.config_archive({"a": 1, "b": 2}) == initramfs.config_archive({"b": 2, "a": 1})


def test_the_configuration_can_be_appended() -> None:
    data = initramfs.base_archive(b"a", []) + initramfs.config_archive({"version": 1, "hostname": "dev"})
    assert json.loads(read_cpio(data)["banger/config.json"][1]) == {"version": 1, "hostname": "dev"}


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(HostError):
        initramfs.write_base(tmp_path / "base", tmp_path / "missing", [])
    assert list(tmp_path.iterdir()) == []


def test_an_architecture_without_agent_is_named() -> None:
    with pytest.raises(HostError, match="vax") as caught:
        initramfs.agent_binary("vax")
    assert caught.value.hint
