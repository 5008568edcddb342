"""What pulls are measured with."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from banger.bench.container import make_image
from banger.testing.pytest_plugin import RunCli


def read_layers(layout: Path) -> list[bytes]:
    """Return the unpacked layers of a layout's image, every digest checked."""
    blobs = layout / "blobs/sha256"
    for blob in blobs.iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    (top,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = json.loads((blobs / top["digest"][7:]).read_bytes())
    config = json.loads((blobs / manifest["config"]["digest"][7:]).read_bytes())
    layers = [gzip.decompress((blobs / layer["digest"][7:]).read_bytes()) for layer in manifest["layers"]]
    assert [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers] == config["rootfs"]["diff_ids"]
    return layers


def read_names(layer: bytes) -> set[str]:
    """Return the names in a layer."""
    with tarfile.open(fileobj=BytesIO(layer)) as tar:
        return set(tar.getnames())


def test_the_image_is_as_large_as_was_asked_for_and_the_same_every_time(tmp_path: Path) -> None:
    layers = read_layers(make_image(tmp_path / "one", 10))
    assert len(layers) == 5 and 7 << 20 < sum(map(len, layers)) < 15 << 20
    packed = sum(blob.stat().st_size for blob in (tmp_path / "one/blobs/sha256").iterdir())
    assert 0.3 < packed / sum(map(len, layers)) < 0.6
    make_image(tmp_path / "two", 10)
    names = [{blob.name for blob in (tmp_path / name / "blobs/sha256").iterdir()} for name in ("one", "two")]
    assert names[0] == names[1]


def test_its_last_layer_replaces_and_deletes(tmp_path: Path) -> None:
    layers = read_layers(make_image(tmp_path / "one", 10))
    first, last = read_names(layers[0]), read_names(layers[-1])
    deleted = {name.replace(".wh.", "") for name in last if ".wh." in name}
    assert deleted and deleted <= first
    assert {name for name in last if ".wh." not in name} & first


def test_tools_that_are_missing_are_named(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run_cli("bench", "image")
    assert result.status == 1
    assert "docker-registry, skopeo, umoci, e2fsprogs: not installed" in result.stderr
    assert "sudo apt install docker-registry skopeo umoci e2fsprogs" in result.stderr
