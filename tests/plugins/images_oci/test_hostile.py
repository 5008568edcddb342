"""Archives and documents that were made to hurt: bombs, nonsense, and what Hypothesis thinks of."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from registry_lab import entry, make_layout, make_tar, tool

from banger.errors import BangerError, ImageError
from banger.testing.contracts import RecordedProgress
from banger_images_oci import stream, tree
from banger_images_oci.blocks import Blocks
from banger_images_oci.documents import (
    DOCUMENT_LIMIT,
    choose_manifest,
    is_index,
    parse_config,
    parse_json,
    parse_manifest,
)
from banger_images_oci.layers import LayerReader
from banger_images_oci.settings import Settings
from banger_images_oci.source import find_manifest, pull_file
from banger_images_oci.stream import LayerStream

DIR, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def read(blob: bytes, contents: Path) -> LayerReader:
    """Read one layer; contents go to a directory that is emptied by the caller."""
    contents.mkdir(exist_ok=True)
    with open(contents / "disk", "w+b", buffering=0) as disk:
        reader = LayerReader(Blocks(disk))
        with LayerStream(lambda: io.BytesIO(blob), len(blob), lambda done: None) as layer:
            reader.apply(layer)
            layer.finish()
    return reader


def zeros(megabytes: int) -> bytes:
    """Return a tar with one file of zeros, compressed to next to nothing."""
    head, _ = entry("zeros")
    head.size = megabytes << 20
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    pieces = [packer.compress(head.tobuf(tarfile.GNU_FORMAT))]
    pieces += [packer.compress(bytes(1 << 20)) for _ in range(megabytes)]
    return b"".join([*pieces, packer.compress(bytes(1024)), packer.flush()])


def test_a_bomb_of_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FREE_BYTES", 64 << 20)
    bomb = zeros(256)
    assert len(bomb) < 64 << 10
    with pytest.raises(ImageError, match="grows to more than"):
        read(bomb, tmp_path / "c")
    assert sum(file.stat().st_blocks for file in (tmp_path / "c").iterdir()) * 512 < 1 << 20


def test_zeros_within_bounds_take_no_space(tmp_path: Path) -> None:
    reader = read(zeros(100), tmp_path / "c")
    node = reader.tree.root.children[b"zeros"]
    (file,) = (tmp_path / "c").iterdir()
    assert (node.size, node.runs, file.stat().st_size) == (100 << 20, (), 0)
    assert file.stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize(
    "blob",
    [
        gzip.compress(bytes(64 << 20)),
        gzip.compress(gzip.compress(bytes(1 << 20))),
        zstandard.ZstdCompressor().compress(bytes(64 << 20)),
        bytes(64 << 20),
    ],
    ids=["gzip", "twice", "zstd", "plain"],
)
def test_zeros_where_a_header_should_be(tmp_path: Path, blob: bytes) -> None:
    # Two blocks of zeros end a tar; what follows them is padding, of which nobody needs megabytes.
    with pytest.raises(ImageError):
        read(blob, tmp_path / "c")


def test_a_window_that_would_be_all_memory(tmp_path: Path) -> None:
    params = zstandard.ZstdCompressionParameters.from_level(3, window_log=30)
    packer = zstandard.ZstdCompressor(compression_params=params).compressobj()
    blob = packer.compress(make_tar([entry("x", b"x" * 100000)])) + packer.flush()
    with pytest.raises(ImageError, match="cannot be decompressed"):
        read(blob, tmp_path / "c")


def test_more_entries_than_anybody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "ENTRY_LIMIT", 500)
    for number, entries in enumerate(
        (
            [entry(f"f{number}") for number in range(501)],
            [entry("same")] * 501,
            [entry(f".wh.{number}") for number in range(501)],
            [entry("a/" * 501 + "x")],
        )
    ):
        with pytest.raises(ImageError, match="more than 500 entries"):
            read(make_tar(entries), tmp_path / str(number))


def pulled(tmp_path: Path, entries: list[Any]) -> Path:
    layout = make_layout(tmp_path / "layout", [make_tar(entries)])
    staging, cache = tmp_path / "s", tmp_path / "cache"
    staging.mkdir()
    cache.mkdir()
    ctx = RecordedProgress(staging, cache, models={"images-oci": Settings()})
    return pull_file(str(layout), ctx).rootfs


def shown(image: Path, request: str) -> bytes:
    return subprocess.run([tool("debugfs"), "-R", request, image], capture_output=True, check=True).stdout


def test_what_is_odd_and_legal_is_carried(tmp_path: Path) -> None:
    names = [
        "<2>",
        "-rf",
        "!touch x",
        "#note",
        "a\tb",
        "a b",
        "$HOME",
        "`id`",
        "\\n",
        '"',
        "...",
        "x" * 255,
        "\udcff\udcfe",
        "é",
        "*",
    ]
    broken = ["a\nrm x", "b\r"]
    entries = [
        *(entry(f"d/{name}", name.encode("utf-8", "surrogateescape")) for name in names),
        *(entry(f"n/{name}", name.encode()) for name in broken),
        *(entry(f"l/{name}", kind=LINK, linkname=name) for name in names),
        *(entry(f"m/{name}/x", b"in") for name in names),
        entry("long", kind=LINK, linkname='"' * 4000 + "x" * 95),
        entry("/".join(["d" * 200] * 5) + "/!touch x", b"x"),
        entry("twice", b"first"),
        entry("twice", b"second", mode=0o4711),
        entry("hard", kind=HARD, linkname="l/-rf"),
        entry("out", kind=LINK, linkname="/../../etc/shadow"),
        entry("d", kind=DIR, mode=0o2700),
        entry("pipe", kind=tarfile.FIFOTYPE),
        entry("sda", kind=tarfile.BLKTYPE, devmajor=8, devminor=0),
        entry("/".join(["deep"] * 150), b"deep"),
    ]
    image = pulled(tmp_path, entries)
    subprocess.run([tool("e2fsck"), "-fn", image], check=True, capture_output=True)
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run([tool("debugfs"), "-R", f"rdump /d {out}", image], capture_output=True).returncode == 0:
        found = {file.name: file.read_bytes() for file in (out / "d").iterdir()}
        assert found == {name: name.encode("utf-8", "surrogateescape") for name in names}
        subprocess.run([tool("debugfs"), "-R", f"rdump /n {out}", image], capture_output=True, check=True)
        assert {file.name: file.read_bytes().decode() for file in (out / "n").iterdir()} == {
            name: name for name in broken
        }
    for directory in ("d", "l", "m"):
        listed = shown(image, f"ls -p /{directory}").splitlines()
        there = {line.split(b"/")[5] for line in listed if line} - {b".", b".."}
        assert there == {name.encode("utf-8", "surrogateescape") for name in names}
    assert shown(image, "cat /twice") == b"second"
    assert b"Mode:  04711" in shown(image, "stat /twice")
    assert b'Fast link dest: "/../../etc/shadow"' in shown(image, "stat /out")
    assert b"Type: FIFO" in shown(image, "stat /pipe")
    assert shown(image, "cat /" + "/".join(["deep"] * 150)) == b"deep"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "layout", "out", "s"]


def test_indexes_that_lead_to_each_other() -> None:
    index = {"mediaType": "application/vnd.oci.image.index.v1+json"}
    index["manifests"] = [{"digest": f"sha256:{'0' * 64}", "size": 1}]
    with pytest.raises(ImageError, match="leads to more than"):
        find_manifest(json.dumps(index).encode(), lambda digest: json.dumps(index).encode(), "x86_64")


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar"}, "unknown kind"),
        (
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", "urls": ["https://192.0.2.1/"]},
            "foreign layer",
        ),
        ({"mediaType": ["x"]}, "unknown kind"),
        ({"size": -1}, "no size"),
        ({"size": True}, "no size"),
        ({"size": 2**60}, "no size"),
        ({"digest": "sha256:../../../../etc/passwd"}, "no sha256 digest"),
        ({"digest": "sha512:" + "0" * 128}, "no sha256 digest"),
    ],
)
def test_layers_of_another_kind(layer: dict[str, Any], said: str) -> None:
    good = {"digest": f"sha256:{'0' * 64}", "size": 1}
    with pytest.raises(ImageError, match=said):
        parse_manifest({"config": good, "layers": [{**good, **layer}]})


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"\xff", b'{"a":' * 100000, b" " * (DOCUMENT_LIMIT + 1), b'{"a": NaN}x']
)
def test_documents_that_are_none(data: bytes) -> None:
    with pytest.raises(ImageError):
        parse_json(data, "manifest")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just(f"sha256:{'0' * 64}"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                "manifests layers config digest size mediaType platform os architecture rootfs diff_ids Env".split()
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(["manifests", "layers", "config", "mediaType", "rootfs"]), JSON))
@example({"config": {"Env": ["=", "A", "A=", "=B"], "User": "a:b:c"}, "rootfs": {"diff_ids": []}})
def test_no_document_breaks_the_parsers(value: dict[str, Any]) -> None:
    data = json.dumps(value).encode()
    with contextlib.suppress(BangerError):
        parse_config(data, 0, "x86_64")
    with contextlib.suppress(BangerError):
        parse_manifest(parse_json(data, "manifest"))
    with contextlib.suppress(BangerError):
        is_index(value)
        choose_manifest(value, "x86_64")


NAMES = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12) | st.sampled_from(
    [
        "a",
        "a/b",
        "../x",
        "/x",
        "a/../b",
        ".wh.a",
        "a/.wh..wh..opq",
        '"',
        "!id",
        "x\ny",
        ".",
        "",
        "a//b/",
        "./a",
    ]
)
ENTRIES = st.lists(
    st.tuples(
        NAMES,
        st.sampled_from([b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"S"]),
        NAMES,
        st.binary(max_size=20),
    ),
    max_size=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(ENTRIES, st.binary(max_size=40), st.integers(0, 4000))
def test_no_archive_breaks_the_reader(tmp_path: Path, entries: list[Any], noise: bytes, where: int) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, target, content in entries:
            head, _ = entry(name, content if kind == b"0" else b"", kind, linkname=target)
            with contextlib.suppress(ValueError):
                tar.addfile(head, io.BytesIO(content))
    blob = bytearray(file.getvalue())
    blob[where : where + len(noise)] = noise
    contents = tmp_path / "c"
    before = set(tmp_path.iterdir())
    with contextlib.suppress(ImageError):
        read(bytes(blob), contents)
    assert set(tmp_path.iterdir()) - before <= {contents}
    assert [path.name for path in contents.iterdir()] == ["disk"]


def test_gzip_in_members_with_padding(tmp_path: Path) -> None:
    archive = make_tar([entry("x", b"x" * 300_000)])
    blob = gzip.compress(archive[:1000]) + gzip.compress(archive[1000:]) + bytes(600_000)
    assert read(blob, tmp_path / "c").bytes == 300_000
    size = len(blob) - 600_000
    for cut in (10, size // 2, size - 5):
        with pytest.raises(ImageError):
            read(blob[:cut], tmp_path / f"c{cut}")
