"""Container images, from a real registry and from files, down to the bytes on the disk."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent))

from registry_lab import (
    Entry,
    entry,
    make_certificate,
    make_layout,
    make_tar,
    missing_programs,
    push,
    run_registry,
)

from banger.errors import BangerError, ImageError, NotFoundError, UsageError
from banger.host.caller import CERTIFICATES, PROXIES
from banger.host.command import HostCommands
from banger.model.check import CheckStatus
from banger.model.source import ImageSource
from banger.testing.contracts import ImageSourceContract, RecordedProgress
from banger_images_oci import banger_register_checks, banger_register_image_sources
from banger_images_oci.reference import local_name, parse_reference
from banger_images_oci.settings import Settings
from banger_images_oci.source import name_file, pull_file, pull_reference

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
DIR = tarfile.DIRTYPE


def context(tmp_path: Path, name: str = "one", insecure: tuple[str, ...] = ()) -> RecordedProgress:
    staging, cache = tmp_path / name, tmp_path / "cache"
    staging.mkdir()
    cache.mkdir(exist_ok=True)
    return RecordedProgress(staging, cache, models={"images-oci": Settings(insecure=insecure)})


class TestLayoutSource(ImageSourceContract):
    models: ClassVar[dict[str, BaseModel]] = {"images-oci": Settings()}
    cancel_at = "unpacking"

    @pytest.fixture
    def source(self, tmp_path: Path) -> ImageSource:
        self.reference = str(make_layout(tmp_path / "layout", [base_layer(), upper_layer()], CONFIG))
        return next(source for source in banger_register_image_sources() if source.scheme == "oci-layout")


def base_layer() -> bytes:
    return make_tar(
        [
            entry("./", kind=DIR),
            entry("bin", kind=DIR),
            entry("bin/tool", b"\x7fELF" + bytes(100000) + b"end", mode=0o4755, uid=7, gid=100000),
            entry("bin/again", kind=tarfile.LNKTYPE, linkname="bin/tool"),
            entry("bin/link", kind=tarfile.SYMTYPE, linkname="../bin/tool"),
            entry("bin/ping", b"p", pax_headers={"SCHILY.xattr.security.capability": CAPABILITY.decode()}),
            entry('bin/a "quoted" <5>', b"q"),
            entry("gone", b"g"),
            entry("kept", kind=DIR, mode=0o1777),
            entry("kept/old", b"old"),
            entry("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
        ]
    )


def upper_layer() -> bytes:
    entries = [
        entry(".wh.gone"),
        entry("kept/new", b"new"),
        entry("kept/.wh..wh..opq"),
        entry("kept/newer", b"n"),
    ]
    return gzip.compress(make_tar(entries))


CONFIG = {
    "Env": ["A=b=c"],
    "User": "7:8",
    "WorkingDir": "/srv/app",
    "Entrypoint": ["/bin/tool"],
    "Cmd": ["x"],
}


def debugfs(image: Path, request: str) -> str:
    return subprocess.run(
        ["debugfs", "-R", request, image], capture_output=True, text=True, check=True
    ).stdout


def test_declares_its_schemes() -> None:
    schemes = [source.scheme for source in banger_register_image_sources()]
    assert schemes == ["oci", "oci-layout", "oci-archive", "docker-archive"]


@pytest.mark.parametrize(
    ("text", "host", "path", "tag", "name"),
    [
        ("debian:bookworm", "docker.io", "library/debian", "bookworm", "debian-bookworm"),
        ("docker.io/library/debian:bookworm", "docker.io", "library/debian", "bookworm", "debian-bookworm"),
        ("localhost:5000/a/b", "localhost:5000", "a/b", "latest", "b-latest"),
        ("gcr.io/distroless/static", "gcr.io", "distroless/static", "latest", "static-latest"),
    ],
)
def test_references(text: str, host: str, path: str, tag: str, name: str) -> None:
    found = parse_reference(text)
    assert (found.host, found.path, found.tag, local_name(found)) == (host, path, tag, name)


@pytest.mark.parametrize(
    "text", ["", "UPPER", "a b", "x/../y", "a:b:c", "x@sha256:1", "a" * 300, "[::1]/x", "host:1/"]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(UsageError, match="is no reference"):
        parse_reference(text)


def test_layers_become_one_disk(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout", [base_layer(), upper_layer()], CONFIG)
    pulled = pull_file(str(layout), context(tmp_path))
    assert (pulled.env, pulled.user, pulled.workdir) == ({"A": "b=c"}, "7:8", "/srv/app")
    assert (pulled.entrypoint, pulled.cmd) == (("/bin/tool",), ("x",))
    subprocess.run(["e2fsck", "-fn", pulled.rootfs], check=True, capture_output=True)
    tool = debugfs(pulled.rootfs, "stat /bin/tool")
    assert "Mode:  04755" in tool and "User:     7   Group: 100000" in tool and "Links: 2" in tool
    assert int(tool.split("Blockcount: ")[1].split()[0]) < 100
    assert debugfs(pulled.rootfs, "stat /bin/again").splitlines()[0] == tool.splitlines()[0]
    assert 'Fast link dest: "../bin/tool"' in debugfs(pulled.rootfs, "stat /bin/link")
    shown = debugfs(pulled.rootfs, "ea_get -x /bin/ping security.capability").split("=")[-1]
    assert bytes.fromhex(shown.strip().strip('"')) == CAPABILITY
    assert "Type: character special" in debugfs(pulled.rootfs, "stat /null")
    assert debugfs(pulled.rootfs, 'cat "/bin/a ""quoted"" <5>"') == "q"
    names = debugfs(pulled.rootfs, "ls -p /kept") + debugfs(pulled.rootfs, "ls -p /")
    assert (
        "/new/" in names
        and "/newer/" in names
        and "/srv/" in names
        and "/old/" not in names
        and "/gone/" not in names
    )
    assert "Mode:  01777" in debugfs(pulled.rootfs, "stat /kept")


def test_same_layers_give_the_same_bytes(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout", [base_layer(), upper_layer()], CONFIG)
    digests = set()
    for name in ("one", "two"):
        pulled = pull_file(str(layout), context(tmp_path, name))
        with open(pulled.rootfs, "rb") as file:
            digests.add(hashlib.file_digest(file, "sha256").hexdigest())
    assert len(digests) == 1


def test_same_layers_run_in_another_way_are_another_image(tmp_path: Path) -> None:
    uuids = set()
    for name in ("one", "two"):
        layout = make_layout(tmp_path / f"layout-{name}", [base_layer()], {"Cmd": [name]})
        ctx = context(tmp_path, name)
        uuids.add(ctx.disks.read_uuid(pull_file(str(layout), ctx).rootfs))
    assert len(uuids) == 2


def test_archive_of_a_layout_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout", [base_layer()])
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(layout, ".")
    ctx = context(tmp_path)
    assert pull_file(str(archive), ctx).rootfs.exists()
    assert [path.name for path in ctx.staging.iterdir()] == ["rootfs.ext4"]
    with pytest.raises(NotFoundError, match="there is no"):
        pull_file(str(tmp_path / "none.tar"), context(tmp_path, "two"))


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_archives_that_other_tools_write(tmp_path: Path, kind: str) -> None:
    if missing := missing_programs("skopeo"):
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    layout = make_layout(tmp_path / "layout", [base_layer(), upper_layer()], CONFIG)
    archive = tmp_path / "some image.tar"
    target = f"{kind}:{archive}" + (":lab/image:v1" if kind == "docker-archive" else "")
    line = ["skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout}:latest", target]
    subprocess.run(line, check=True, timeout=60)
    assert name_file(str(archive)) == "some-image"
    ctx = context(tmp_path)
    pulled = pull_file(str(archive), ctx)
    assert (pulled.user, pulled.workdir, pulled.cmd) == ("7:8", "/srv/app", ("x",))
    assert "Mode:  04755" in debugfs(pulled.rootfs, "stat /bin/tool")
    assert [path.name for path in ctx.staging.iterdir()] == ["rootfs.ext4"]


def test_an_archive_of_several_images_is_refused(tmp_path: Path) -> None:
    for number, listed in enumerate(
        (b"[]", b'[{"Config": "c"}, {}]', b"{}", b"x", b'[{"Config": 7, "Layers": 7}]')
    ):
        archive = tmp_path / f"{number}.tar"
        archive.write_bytes(make_tar([entry("manifest.json", listed), entry("c", b"{}")]))
        with pytest.raises(ImageError, match="exactly one image"):
            pull_file(str(archive), context(tmp_path, f"s{number}"))
    archive.write_bytes(make_tar([entry("unrelated", b"x")]))
    with pytest.raises(ImageError, match="exactly one image"):
        pull_file(str(archive), context(tmp_path, "unrelated"))


def test_pull_from_a_registry_and_again_without_its_layers(tmp_path: Path) -> None:
    missing = missing_programs("docker-registry", "skopeo")
    if missing:
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    layout = make_layout(tmp_path / "layout", [base_layer(), upper_layer()], CONFIG)
    with run_registry(tmp_path) as host:
        push(layout, f"{host}/some/image:v1")
        ctx = context(tmp_path, insecure=(host,))
        first = pull_reference(f"{host}/some/image:v1", ctx)
        assert first.user == "7:8"
        with pytest.raises(NotFoundError, match="no such image"):
            pull_reference(f"{host}/some/other:v1", context(tmp_path, "other", (host,)))
    blobs = {path.name for path in (tmp_path / "cache/blobs").iterdir()}
    assert not [name for name in blobs if name.endswith(".part")]
    manifest = next(
        name for name in blobs if b'"schemaVersion"' in (tmp_path / "cache/blobs" / name).read_bytes()[:2000]
    )
    again = pull_reference(f"{host}/some/image@sha256:{manifest}", context(tmp_path, "again", (host,)))
    assert again.rootfs.exists()


def test_pull_with_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = missing_programs("docker-registry", "openssl", "skopeo")
    if missing:
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    for name in (*PROXIES, *CERTIFICATES):
        monkeypatch.delenv(name, raising=False)
    layout = make_layout(tmp_path / "layout", [base_layer()])
    certificate, key = make_certificate(tmp_path)
    with run_registry(tmp_path, certificate=(certificate, key)) as address:
        host = f"localhost:{address.partition(':')[2]}"
        push(layout, f"{host}/some/image:v1")
        with pytest.raises(ImageError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            pull_reference(f"{host}/some/image:v1", context(tmp_path, "unknown"))
        assert "SSL_CERT_FILE" in str(caught.value.hint)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(ImageError, match="cannot be reached"):
            pull_reference(f"{address}/some/image:v1", context(tmp_path, "other name"))
        assert pull_reference(f"{host}/some/image:v1", context(tmp_path)).rootfs.exists()


HOSTILE: dict[str, list[Entry]] = {
    "absolute": [entry("/etc/passwd", b"x")],
    "parent": [entry("a/../../x", b"x")],
    "through a link": [entry("l", kind=tarfile.SYMTYPE, linkname="/tmp"), entry("l/x", b"x")],
    "swap": [entry("d", kind=DIR), entry("d", kind=tarfile.SYMTYPE, linkname="/"), entry("d/x", b"x")],
    "link outside": [entry("h", kind=tarfile.LNKTYPE, linkname="../../etc/passwd")],
    "link to nothing": [entry("h", kind=tarfile.LNKTYPE, linkname="none")],
    "link to a directory": [entry("d", kind=DIR), entry("h", kind=tarfile.LNKTYPE, linkname="d")],
    "whiteout of parent": [entry(".wh...", b"")],
    "long": [entry("x" * 256, b"")],
    "deep": [entry("d/" * 4000 + "x", b"")],
    "root": [entry("./", kind=tarfile.SYMTYPE, linkname="x")],
    "NUL": [entry("x", b"", pax_headers={"path": "a\0b"})],
    "NUL in a target": [entry("l", kind=tarfile.SYMTYPE, pax_headers={"linkpath": "a\0b"})],
    "no user": [entry("x", b"", uid=2**32 - 1)],
    "device": [entry("n", kind=tarfile.CHRTYPE, devmajor=5000, devminor=1)],
    "unknown type": [entry("x", b"", kind=b"V")],
    "attribute": [entry("x", b"", pax_headers={"SCHILY.xattr.user.a b": "x"})],
    "long attribute": [entry("x", b"", pax_headers={"SCHILY.xattr.user.a": "x" * 4000})],
    "header": [entry("x", b"", pax_headers={"comment": "x" * 2_000_000})],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_layer_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    layout = make_layout(tmp_path / "layout", [make_tar(HOSTILE[what])])
    before = {path for path in tmp_path.rglob("*") if "one" not in path.parts}
    with pytest.raises(ImageError) as caught:
        pull_file(str(layout), context(tmp_path))
    assert "\n" not in caught.value.message and len(caught.value.message) < 400
    after = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "one")}
    assert after - before <= {tmp_path / "cache"}
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["rootfs.ext4"]


def test_bombs_and_cut_layers_are_refused(tmp_path: Path) -> None:
    zeros = gzip.compress(make_tar([entry("x", b"data" * 1000)]))
    for number, layer in enumerate(
        (zeros[: len(zeros) // 2], b"no tar at all" * 100, make_tar([entry("x", b"y" * 5000)])[:2000])
    ):
        config_of = [zeros] if layer[:2] == b"\x1f\x8b" else [layer]
        layout = make_layout(tmp_path / f"layout{number}", config_of)
        if layer[:2] == b"\x1f\x8b":
            (blob,) = [path for path in (layout / "blobs/sha256").iterdir() if path.read_bytes() == zeros]
            blob.write_bytes(layer)
        with pytest.raises(BangerError):
            pull_file(str(layout), context(tmp_path, f"s{number}"))


def test_doctor_says_what_is_missing() -> None:
    class Without(HostCommands):
        def find(self, program: str) -> str | None:
            return None if program == "debugfs" else super().find(program)

    (check,) = banger_register_checks()
    assert check.run(HostCommands()).status is CheckStatus.PASS
    result = check.run(Without())
    assert (
        result.status is CheckStatus.WARN and "debugfs" in result.detail and "e2fsprogs" in str(result.hint)
    )
