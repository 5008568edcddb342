"""Images as files: written, read back, and what hostile files get."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from banger.errors import BangerError, CancelledError, ConflictError, ImageError, UsageError
from banger.testing.app import BangerApp
from banger_local.container import ArchiveReader
from banger_local.manifest import parse_manifest
from tests.plugins.local.paper_kernel import RELEASE, write_tree

#: The archive that is written once.
_KEPT: list[bytes] = []


@pytest.fixture
def archive(app: BangerApp, rootfs: Path, tmp_path: Path) -> Path:
    """Give an archive of an image with a kernel and a work seed; neither is in the store any more."""
    path = tmp_path / "mine.tar.zst"
    if not _KEPT:
        _KEPT.append(export(app, rootfs, tmp_path).read_bytes())
        path.unlink()
    path.write_bytes(_KEPT[0])
    return path


def export(app: BangerApp, rootfs: Path, tmp_path: Path) -> Path:
    write_tree(tmp_path / "tree")
    app.call("kernel.import", {"name": "built", "directory": str(tmp_path / "tree"), "distro": "paper"})
    params = {"name": "mine", "rootfs": str(rootfs), "kernel_ref": "built", "distro": "homemade"}
    app.call("image.register", params)
    app.call("image.export", {"name": "mine", "path": str(tmp_path / "mine.tar.zst")})
    app.call("image.delete", {"name": "mine"})
    app.call("kernel.rm", {"name": "built"})
    return tmp_path / "mine.tar.zst"


def members(archive: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with zstandard.open(archive, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        found = []
        for entry in tar:
            file = tar.extractfile(entry)
            found.append((entry, file.read() if file else b""))
        return found


def write(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], tail: bytes = b"") -> Path:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry, content in entries:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    end = data.getvalue().rstrip(b"\0")
    whole = end + bytes(-len(end) % 512) + bytes(1024)
    path.write_bytes(zstandard.ZstdCompressor(level=1).compress(whole + tail))
    return path


def assert_untouched(app: BangerApp) -> None:
    assert [image["name"] for image in app.call("image.list")["images"]] == ["test-image"]
    assert [kernel["name"] for kernel in app.call("kernel.list")["kernels"]] == ["test-kernel"]
    assert [*app.paths.images.iterdir(), *app.paths.kernels.iterdir(), *app.paths.staging.iterdir()] == []


def test_what_is_exported_can_be_imported(app: BangerApp, rootfs: Path, tmp_path: Path) -> None:
    archive = export(app, rootfs, tmp_path)
    answer = app.call("image.import", {"path": str(archive)})
    image, kernel = answer["image"], answer["kernel"]
    assert (image["name"], image["distro"], image["managed"]) == ("mine", "homemade", True)
    assert image["digest"] == "sha256:" + hashlib.sha256(rootfs.read_bytes()).hexdigest()
    assert (kernel["name"], kernel["release"], kernel["distro"]) == ("built", RELEASE, "paper")
    assert image["kernel_ref"] == kernel["digest"]
    place = app.paths.images / image["digest"][7:39]
    assert sorted(path.name for path in place.iterdir()) == ["manifest.json", "rootfs.ext4", "work-seed.ext4"]
    assert place.joinpath("rootfs.ext4").stat().st_blocks * 512 < 32 << 20
    assert list(app.paths.staging.iterdir()) == []


def test_any_tar_reads_it(archive: Path) -> None:
    names = [entry.name for entry, _ in members(archive)]
    assert [name for name in names if "/" in name] == []
    kernel = ["vmlinuz", "modules.ext4", "initrd.img"]
    assert names == ["manifest.json", "rootfs.ext4", "work-seed.ext4", *kernel]


def test_a_second_import_meets_what_is_there(app: BangerApp, archive: Path) -> None:
    app.call("image.import", {"path": str(archive)})
    with pytest.raises(ConflictError, match="an image called 'mine' exists"):
        app.call("image.import", {"path": str(archive)})
    with pytest.raises(ConflictError, match="the same content is in the store as 'mine'"):
        app.call("image.import", {"path": str(archive), "name": "again"})
    assert len(app.call("kernel.list")["kernels"]) == 2
    app.call("image.delete", {"name": "mine"})
    again = app.call("image.import", {"path": str(archive), "name": "again"})
    assert (again["image"]["name"], again["kernel"]["name"]) == ("again", "built")


def test_without_the_kernel(app: BangerApp, rootfs: Path, tmp_path: Path) -> None:
    app.call("image.register", {"name": "mine", "rootfs": str(rootfs), "kernel_ref": "test-kernel"})
    path = str(tmp_path / "out")
    answer = app.call("image.export", {"name": "mine", "path": path, "kernel": False})
    assert answer["kernel"] is None
    app.call("image.delete", {"name": "mine"})
    answer = app.call("image.import", {"path": path})
    assert answer["kernel"] is None and answer["image"]["kernel_ref"] is not None


def test_a_file_that_is_there_is_kept_unless_forced(app: BangerApp, rootfs: Path, tmp_path: Path) -> None:
    app.call("image.register", {"name": "mine", "rootfs": str(rootfs)})
    target = tmp_path / "out"
    target.write_text("mine")
    with pytest.raises(ConflictError, match="exists"):
        app.call("image.export", {"name": "mine", "path": str(target)})
    assert target.read_text() == "mine"
    answer = app.call("image.export", {"name": "mine", "path": str(target), "force": True})
    assert answer["size"] == target.stat().st_size and target.stat().st_mode & 0o777 == 0o600
    assert answer["digest"] == "sha256:" + hashlib.sha256(target.read_bytes()).hexdigest()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    for wrong in ("relative", str(tmp_path), str(tmp_path / "no" / "such")):
        with pytest.raises(UsageError):
            app.call("image.export", {"name": "mine", "path": wrong})


def test_an_image_whose_file_changed_is_not_exported(app: BangerApp, rootfs: Path, tmp_path: Path) -> None:
    app.call("image.register", {"name": "mine", "rootfs": str(rootfs)})
    with open(rootfs, "r+b") as file:
        file.write(b"changed")
    with pytest.raises(ImageError, match="not what they were"):
        app.call("image.export", {"name": "mine", "path": str(tmp_path / "out")})
    assert not (tmp_path / "out").exists()


Entries = list[tuple[tarfile.TarInfo, bytes]]


def rename(entries: Entries, name: str) -> Entries:
    entries[1][0].name = name
    return entries


def retype(entries: Entries, kind: bytes, target: str = "") -> Entries:
    entries[1][0].type, entries[1][0].linkname = kind, target
    return [entries[0], (entries[1][0], b""), *entries[2:]]


def said(entries: Entries, change: Callable[[dict[str, Any]], Any]) -> Entries:
    manifest = json.loads(entries[0][1])
    change(manifest)
    return [(entries[0][0], json.dumps(manifest).encode()), *entries[1:]]


def with_digests(entries: Entries) -> Entries:
    """Let the manifest say what the members are."""

    def change(manifest: dict[str, Any]) -> None:
        for member, (_, content) in zip(manifest["members"], entries[1:], strict=True):
            member["size"], member["sha256"] = len(content), hashlib.sha256(content).hexdigest()

    return said(entries, change)


def swapped(entries: Entries, at: int, content: bytes) -> Entries:
    return [*entries[:at], (entries[at][0], content), *entries[at + 1 :]]


HOSTILE: dict[str, tuple[Callable[[Entries], Entries], str]] = {
    "traversal": (lambda e: rename(e, "../../evil"), "where rootfs.ext4 has to be"),
    "absolute": (lambda e: rename(e, "/tmp/evil"), "where rootfs.ext4 has to be"),
    "newline": (lambda e: rename(e, "rootfs\n.ext4"), "where rootfs.ext4 has to be"),
    "symlink": (lambda e: retype(e, tarfile.SYMTYPE, "/etc/passwd"), "where rootfs.ext4 has to be"),
    "hardlink": (lambda e: retype(e, tarfile.LNKTYPE, "manifest.json"), "where rootfs.ext4 has to be"),
    "fifo": (lambda e: retype(e, tarfile.FIFOTYPE), "where rootfs.ext4 has to be"),
    "device": (lambda e: retype(e, tarfile.BLKTYPE), "where rootfs.ext4 has to be"),
    "directory": (lambda e: retype(e, tarfile.DIRTYPE), "where rootfs.ext4 has to be"),
    "twice": (lambda e: [e[0], e[1], e[1], *e[2:]], "where work-seed.ext4 has to be"),
    "missing": (lambda e: e[:3], "ends too early"),
    "disorder": (lambda e: [e[0], e[2], e[1], *e[3:]], "where rootfs.ext4 has to be"),
    "no-manifest": (lambda e: e[1:], "where manifest.json has to be"),
    "more": (lambda e: [*e, e[0]], "goes on after its end"),
    "wrong-digest": (lambda e: swapped(e, 1, bytes(len(e[1][1]))), "is not what the archive says"),
    "wrong-size": (lambda e: swapped(e, 1, e[1][1] + b"x"), "is not as large as its manifest says"),
    "no-ext4": (lambda e: with_digests(swapped(e, 1, b"x" * 4096)), "rootfs.ext4 is not an ext4"),
    "no-ext4-seed": (lambda e: with_digests(swapped(e, 2, b"x" * 4096)), "work-seed.ext4 is not an ext4"),
    "no-kernel": (lambda e: with_digests(swapped(e, 3, b"x" * 4096)), "is not a kernel"),
    "huge-manifest": (lambda e: swapped(e, 0, b" " * (2 << 20)), "manifest.json is too large"),
    "no-json": (lambda e: swapped(e, 0, b"{"), "manifest is not right"),
    "deep-json": (lambda e: swapped(e, 0, b"[" * 100_000), "manifest is not right"),
    "list": (lambda e: swapped(e, 0, b"[]"), "manifest is not right"),
    "newer": (lambda e: said(e, lambda m: m.update(version=2)), "a newer banger wrote this"),
    "bad-name": (lambda e: said(e, lambda m: m["image"].update(name="../x")), "image.name"),
    "bad-kernel-name": (lambda e: said(e, lambda m: m["kernel"].update(name="a/b")), "kernel.name"),
    "control": (lambda e: said(e, lambda m: m["image"].update(user="a\x1b[2J")), "image.user"),
    "nul": (lambda e: said(e, lambda m: m["image"].update(cmd=["a\0b"])), "image.cmd"),
    "extra": (lambda e: said(e, lambda m: m.update(hook="rm")), "hook"),
    "members": (lambda e: said(e, lambda m: m["members"].reverse()), "not in order"),
    "terabytes": (lambda e: said(e, lambda m: m["members"][0].update(size=1 << 50)), "too large"),
    "half-kernel": (lambda e: said(e, lambda m: m.pop("kernel")), "come together"),
    "other-arch": (lambda e: said(e, lambda m: m["image"].update(arch="riscv64")), "is for riscv64"),
    "other-release": (lambda e: said(e, lambda m: m["kernel"].update(release="9.9")), "kernel is"),
    "pax": (
        lambda e: [
            (e[0][0], e[0][1]),
            (_pax(), b"30 comment=a long line of text\n"),
            *e[1:],
        ],
        "where rootfs.ext4 has to be",
    ),
}


def _pax() -> tarfile.TarInfo:
    entry = tarfile.TarInfo("x")
    entry.type = tarfile.XHDTYPE
    return entry


def test_hostile_archives_are_refused_and_leave_nothing(app: BangerApp, archive: Path) -> None:
    for case, (change, message) in HOSTILE.items():
        evil = write(archive.with_name(case), change(members(archive)))
        with pytest.raises(BangerError, match=message) as caught:
            app.call("image.import", {"path": str(evil)})
        assert "\n" not in caught.value.message and "\x1b" not in caught.value.message, case
        assert_untouched(app)


def test_an_archive_that_was_cut_off_is_refused(app: BangerApp, archive: Path) -> None:
    data = archive.read_bytes()
    for part in (0.0, 0.2, 0.5, 0.999):
        archive.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(ImageError):
            app.call("image.import", {"path": str(archive)})
        assert_untouched(app)


def test_other_files_are_no_archives(app: BangerApp, tmp_path: Path) -> None:
    for content in (b"", b"hello", bytes(100_000), zstandard.compress(bytes(10 << 20))):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ImageError):
            app.call("image.import", {"path": str(tmp_path / "file")})
    assert_untouched(app)


def test_a_cancelled_import_leaves_nothing(
    app: BangerApp, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, reading = ArchiveReader.extract, threading.Event()

    def linger(reader: ArchiveReader, name: str, size: int, target: Path, report: Any) -> str:
        digest = real(reader, name, size, target, report)
        reading.set()
        for _ in range(200):
            report(0)  # raises once cancelled
            time.sleep(0.05)
        return digest

    monkeypatch.setattr(ArchiveReader, "extract", linger)
    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(app.call, "image.import", {"path": str(archive)})
        assert reading.wait(20)
        (running,) = (entry for entry in app.call("op.list")["operations"] if entry["name"] == "image.import")
        app.call("op.cancel", {"op_id": running["op_id"]})
        with pytest.raises(CancelledError):
            importing.result(20)
    assert_untouched(app)


def test_a_claimed_digest_is_not_believed(app: BangerApp, archive: Path) -> None:
    claimed = f"sha256:{'ab' * 32}"
    evil = write(
        archive.with_name("evil"), said(members(archive), lambda m: m["kernel"].update(digest=claimed))
    )
    answer = app.call("image.import", {"path": str(evil)})
    assert answer["kernel"]["digest"] != claimed
    assert answer["image"]["kernel_ref"] == answer["kernel"]["digest"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=4096), packed=st.booleans())
def test_any_bytes_are_an_error_of_ours_or_an_archive(data: bytes, packed: bool) -> None:
    reader = ArchiveReader(io.BytesIO(zstandard.compress(data) if packed else data))
    try:
        reader.read("manifest.json", 4096)
        reader.end()
    except ImageError:
        pass


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["format", "version", "image", "kernel", "members", "name", "size"])
                | st.text(),
                inner,
            )
        ),
    )
)
def test_any_other_json_is_no_manifest(value: Any) -> None:
    with pytest.raises(ImageError) as caught:
        parse_manifest(json.dumps(value).encode())
    assert "\n" not in caught.value.message
