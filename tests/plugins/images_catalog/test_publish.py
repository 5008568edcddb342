"""Making bundles and catalogs, and pulling what was made on another daemon."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zstandard

from banger.errors import BangerError, ImageError, NotFoundError, UsageError
from banger.model.image import Kernel
from banger.testing.app import BangerApp
from banger.testing.pytest_plugin import RunCli
from banger_images_catalog.document import parse_document
from tests.plugins.images_catalog.catalog_lab import (
    ARCH,
    answer_file,
    catalog,
    entry,
    kernel_members,
    make_rootfs,
    pack,
)
from tests.plugins.images_oci.misbehaving import serve
from tests.plugins.local.paper_kernel import RELEASE

StartApp = Callable[..., BangerApp]


def make_tar(*more: tarfile.TarInfo) -> bytes:
    """Return a root file system as ``podman export`` writes it, small."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in (("usr/lib/os-release", b"ID=tiny\n"), ("etc/motd", b"hello\n")):
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.mode = len(data), 7, 0o4755
            tar.addfile(info, io.BytesIO(data))
        for info in more:
            tar.addfile(info)
    return file.getvalue()


def test_image_of_the_store_and_back(start: StartApp, www: Path, tmp_path: Path, run_cli: RunCli) -> None:
    app = start(www / "catalog.json", tmp_path / "pub" / "catalog.json", plugins=("images-oci",))
    image = app.call("image.pull", {"reference": "box"})["image"]
    (tmp_path / "pub").mkdir()
    result = run_cli(
        *("image", "bundle", "box", "--name", "public", "--kernel-ref", "debian:bookworm"),
        *("--out", str(tmp_path / "pub"), "--catalog", str(tmp_path / "pub" / "catalog.json")),
        *("--description", "a box for all", "--json"),
    )
    assert result.status == 0, result.stderr
    made = json.loads(result.stdout)
    data = Path(made["path"]).read_bytes()
    assert made["sha256"] == hashlib.sha256(data).hexdigest() and made["size"] == len(data)
    assert Path(made["path"]).name == f"public-{ARCH}-{made['sha256'][:16]}.tar.zst"
    assert Path(made["path"]).stat().st_mode & 0o777 == 0o644
    said = parse_document((tmp_path / "pub" / "catalog.json").read_bytes(), "x").images[0]
    assert (said.name, said.url, said.kernel_ref) == ("public", Path(made["path"]).name, "debian:bookworm")
    app.call("image.delete", {"name": "box"})
    again = app.call("image.pull", {"reference": "public"})["image"]
    assert again["digest"] == image["digest"] and again["kernel_ref"] == "debian:bookworm"
    assert again["distro"] == "debian"
    tar = subprocess.run(["tar", "-I", "zstd", "-tf", made["path"]], capture_output=True, check=False)
    if tar.returncode == 0:  # where tar and zstd are
        assert tar.stdout.split() == [b"manifest.json", b"rootfs.ext4"]


@pytest.mark.parametrize("packed", [bytes, gzip.compress, lzma.compress, zstandard.compress], ids=range(4))
def test_tar(start: StartApp, tmp_path: Path, run_cli: RunCli, packed: Callable[[bytes], bytes]) -> None:
    (tmp_path / "root.tar").write_bytes(packed(make_tar()))
    app = start(tmp_path / "catalog.json", plugins=("images-oci",))
    result = run_cli(
        *("image", "bundle", "--rootfs-tar", str(tmp_path / "root.tar"), "--name", "tiny"),
        *("--out", str(tmp_path), "--catalog", str(tmp_path / "catalog.json"), "--kernel-ref", "mine"),
        *(("--size", "256M") if packed is bytes else ()),
    )
    assert result.status == 0, result.stderr
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert set(lines) == {"path", "sha256", "size", "catalog"}
    assert lines["sha256"] == hashlib.sha256(Path(lines["path"]).read_bytes()).hexdigest()
    image = app.call("image.pull", {"reference": "tiny"})["image"]
    assert (image["distro"], image["kernel_ref"]) == ("tiny", "mine")
    assert image["size_bytes"] == 256 << 20 or packed is not bytes
    rootfs = next(app.paths.images.rglob("rootfs.ext4"))
    assert app.services.disks.read_file(rootfs, "/etc/motd") == b"hello\n"
    stat = app.services.commands.run(["debugfs", "-R", "stat /etc/motd", rootfs], timeout=30).stdout
    assert b"Mode:  04755" in stat and b"User:     7" in stat
    assert {path.name for path in tmp_path.iterdir()} >= {"catalog.json", "root.tar"}
    assert not list(tmp_path.glob(".banger*"))


def test_tar_from_the_standard_input(start: StartApp, tmp_path: Path) -> None:
    start(plugins=("images-oci",))
    line = [
        sys.executable,
        "-m",
        "banger",
        "image",
        "bundle",
        "--rootfs-tar",
        "-",
        "--name",
        "tiny",
        "--json",
    ]
    done = subprocess.run(line, input=make_tar(), capture_output=True, timeout=120, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(json.loads(done.stdout)["path"]).parent == tmp_path
    assert len(list(tmp_path.iterdir())) == 1, "the bundle, and nothing else"


def test_tar_makes_the_same_bundle_every_time(start: StartApp, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(make_tar())
    app = start(plugins=("images-oci",))
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        params = {"rootfs_tar": str(tmp_path / "root.tar"), "name": "tiny", "out": str(tmp_path / name)}
        digests.add(app.call("image.bundle", params)["sha256"])
    assert len(digests) == 1


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the tar is empty"),
    "no tar": (b"x" * 5000, "no tar that can be read"),
    "no gzip": (b"\x1f\x8b" + bytes(50), "cannot be decompressed"),
    "no zstd": (b"\x28\xb5\x2f\xfd" + b"\xff" * 50, "cannot be decompressed"),
    "no xz": (b"\xfd7zXZ\0" + bytes(50), "cannot be decompressed"),
    "cut gzip": (gzip.compress(make_tar())[:-20], "cannot be decompressed"),
}
for _name in ("../x", "a/../../x"):
    HOSTILE[_name] = (make_tar(tarfile.TarInfo(_name)), "path")


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_tars(start: StartApp, tmp_path: Path, case: str) -> None:
    data, message = HOSTILE[case]
    (tmp_path / "root.tar").write_bytes(data)
    app = start(plugins=("images-oci",))
    with pytest.raises(BangerError, match=message):
        app.call(
            "image.bundle",
            {"rootfs_tar": str(tmp_path / "root.tar"), "name": "tiny", "out": str(tmp_path)},
        )
    assert [path.name for path in tmp_path.iterdir()] == ["root.tar"]
    assert list(app.paths.staging.iterdir()) == []


def test_kernel_and_back(start: StartApp, tmp_path: Path, run_cli: RunCli) -> None:
    modules = make_rootfs(tmp_path).read_bytes()
    packed = pack([*kernel_members(), ("modules.ext4", modules), ("initrd.img", b"cpio")])
    (tmp_path / "box.tar.zst").write_bytes(packed)
    (tmp_path / "catalog.json").write_bytes(catalog(kernels=(entry(packed, name="tiny"),)))
    app = start(tmp_path / "catalog.json")
    kernel = Kernel.model_validate(app.call("kernel.pull", {"reference": "tiny"})["kernel"])
    result = run_cli(
        *("kernel", "bundle", "tiny", "--name", "public", "--json"),
        *("--out", str(tmp_path), "--catalog", str(tmp_path / "catalog.json")),
    )
    assert result.status == 0, result.stderr
    assert json.loads(result.stdout)["entry"]["release"] == RELEASE
    app.call("kernel.rm", {"name": "tiny"})
    again = app.call("kernel.pull", {"reference": "public"})["kernel"]
    assert (again["digest"], again["release"]) == (kernel.digest, RELEASE)


def test_catalog_keeps_what_it_has_and_many_writers_lose_nothing(
    start: StartApp, www: Path, tmp_path: Path
) -> None:
    file = tmp_path / "catalog.json"
    file.write_bytes(
        catalog({"name": "old", "recipe": "debian:sid", "colour": "blue"}, entry(b"x"), more=[1])
    )
    app = start(www / "catalog.json")
    app.call("image.pull", {"reference": "box"})
    names = [f"box-{number}" for number in range(6)] + ["box"]
    params = {"image": "box", "out": str(tmp_path), "catalog": str(file)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: app.call("image.bundle", {**params, "name": name}), names))
    value = json.loads(file.read_text())
    assert sorted(image["name"] for image in value["images"]) == sorted([*names, "old"])
    assert value["more"] == [1] and value["images"][0]["colour"] == "blue"
    box = next(image for image in value["images"] if image["name"] == "box")
    assert (tmp_path / box["url"]).stat().st_size == box["size"]


def test_address_that_others_fetch_from(start: StartApp, www: Path, tmp_path: Path) -> None:
    app = start(www / "catalog.json")
    app.call("image.pull", {"reference": "box"})
    for name in ("web", "bundles", "web/sub"):
        (tmp_path / name).mkdir()
    params = {"image": "box", "catalog": str(tmp_path / "web" / "c.json")}

    def url(**more: Any) -> str:
        return str(app.call("image.bundle", {**params, **more})["entry"]["url"])

    assert url(out=str(tmp_path / "web" / "sub")).startswith("sub/box-")
    assert url(out=str(tmp_path / "bundles"), url="https://cdn.example.com/b/").startswith(
        "https://cdn.example.com/b/box-"
    )
    with pytest.raises(UsageError, match="is not below") as caught:
        url(out=str(tmp_path / "bundles"))
    assert "--url" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({}, UsageError, "of an image here or of a tar"),
        ({"image": "box", "rootfs_tar": "/x"}, UsageError, "of an image here or of a tar"),
        ({"image": "none"}, NotFoundError, "there is no image 'none' here"),
        ({"rootfs_tar": "/x"}, UsageError, "needs a name"),
        ({"rootfs_tar": "/no/such", "name": "x"}, BangerError, "/no/such cannot be read"),
        ({"rootfs_tar": "/etc/passwd", "name": "../x"}, UsageError, "name"),
        ({"image": "box", "size": "64M"}, UsageError, "--size goes with --rootfs-tar"),
        ({"image": "box", "arch": "vax"}, UsageError, "'box' is for"),
        ({"image": "box", "out": "x"}, UsageError, "is not an absolute path"),
        ({"image": "box", "out": "/no/such"}, UsageError, "there is no directory /no/such"),
        ({"image": "box", "catalog": "/no/such/c"}, UsageError, "there is no directory /no/such"),
        ({"image": "box", "catalog": "/etc"}, UsageError, "/etc is a directory"),
        ({"image": "box", "catalog": "/etc/passwd"}, ImageError, "the catalog /etc/passwd is no JSON"),
        ({"image": "box", "url": "ftp://x/"}, UsageError, "--url"),
        ({"image": "box", "url": "https://x/?a"}, UsageError, "--url"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    start: StartApp, www: Path, tmp_path: Path, params: dict[str, str], error: type[BangerError], message: str
) -> None:
    app = start(www / "catalog.json", plugins=("images-oci",))
    app.call("image.pull", {"reference": "box"})
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(error, match=message):
        app.call("image.bundle", {"out": str(out), **params})
    assert list(out.iterdir()) == []


def test_image_whose_file_changed_is_not_published(start: StartApp, www: Path, tmp_path: Path) -> None:
    app = start(www / "catalog.json")
    app.call("image.pull", {"reference": "box"})
    rootfs = next(app.paths.images.rglob("rootfs.ext4"))
    rootfs.chmod(0o600)
    with open(rootfs, "r+b") as file:
        file.seek(5000)
        file.write(b"changed")
    with pytest.raises(ImageError, match="is not what it was"):
        app.call("image.bundle", {"image": "box", "out": str(tmp_path)})


def test_published_here_and_pulled_over_http_there(start: StartApp, www: Path, tmp_path: Path) -> None:
    with serve(partial(answer_file, directory=tmp_path)) as lab:
        app = start(www / "catalog.json", f"http://{lab.host}/catalog.json")
        image = app.call("image.pull", {"reference": "box"})["image"]
        params = {
            "image": "box",
            "name": "ours",
            "out": str(tmp_path),
            "catalog": str(tmp_path / "catalog.json"),
        }
        app.call("image.bundle", params)
        app.call("image.delete", {"name": "box"})
        assert app.call("image.pull", {"reference": "ours"})["image"]["digest"] == image["digest"]
