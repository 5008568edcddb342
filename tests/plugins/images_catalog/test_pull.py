"""Pulling by name, through a whole daemon: which source, which name, which kernel; one winner; nothing left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from banger.errors import (
    BangerError,
    CancelledError,
    ConflictError,
    ImageError,
    NotFoundError,
    StoreError,
    UsageError,
)
from banger.model.source import ImageSource, KernelSource, PullContext, PulledImage, PulledKernel
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from banger.testing.pytest_plugin import BangerDirs, RunCli
from banger.testing.samples import sample_image, sample_kernel
from tests.plugins.images_catalog.catalog_lab import (
    answer_file,
    catalog,
    entry,
    image_members,
    kernel_members,
    make_rootfs,
    pack,
    publish,
)
from tests.plugins.images_oci.misbehaving import Request, serve
from tests.plugins.local.paper_kernel import make_bzimage, write_tree

StartApp = Callable[..., BangerApp]


def debian(tmp_path: Path) -> Any:
    """Return a plugin that makes Debian's images and kernels on paper."""
    rootfs = make_rootfs(tmp_path, "recipe").read_bytes()

    def pull(rest: str, ctx: PullContext) -> PulledImage:
        (ctx.staging / "rootfs.ext4").write_bytes(rootfs)
        return PulledImage(ctx.staging / "rootfs.ext4", "debian", kernel_ref="debian:own")

    def pull_kernel(rest: str, ctx: PullContext) -> PulledKernel:
        (ctx.staging / "vmlinuz").write_bytes(make_bzimage())
        return PulledKernel(ctx.staging / "vmlinuz", "6.1", "debian")

    def name(rest: str) -> str:
        return f"debian-{rest}"

    def banger_register_image_sources() -> list[ImageSource]:
        return [ImageSource("debian", "a test's", name, pull, known=("bookworm", "sid"))]

    def banger_register_kernel_sources() -> list[KernelSource]:
        return [KernelSource("debian", "a test's", name, pull_kernel, known=("bookworm",))]

    return make_plugin("debian-on-paper", banger_register_image_sources, banger_register_kernel_sources)


def nothing_left(app: BangerApp) -> bool:
    return list(app.paths.staging.iterdir()) == []


def test_name_is_looked_for_in_catalogs_first_then_among_what_sources_know(
    start: StartApp, www: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    recipe = {"name": "debian-bookworm", "recipe": "debian:bookworm", "kernel_ref": "debian:trixie"}
    box = json.loads((www / "catalog.json").read_text())["images"][0]
    (www / "catalog.json").write_bytes(catalog({**box, "kernel_ref": "tiny", "description": "a box"}, recipe))
    with serve(partial(answer_file, directory=www)) as lab:
        app = start(f"http://{lab.host}/catalog.json", modules=(debian(tmp_path),))
        for name, source, kernel in (
            ("box", "catalog:box", "tiny"),
            ("debian-bookworm", "debian:bookworm", "debian:trixie"),
        ):
            image = app.call("image.pull", {"reference": name})["image"]
            assert (image["name"], image["source"], image["kernel_ref"]) == (name, source, kernel)
        assert run_cli("image", "pull", "box").status == 0, "what is here is what was asked for"
        listed = run_cli("image", "list", "--available")
        rows = [line.split() for line in listed.stdout.splitlines()]
        assert [row[:2] for row in rows[1:]] == [
            ["box", "pulled"],
            ["debian-bookworm", "pulled"],
            ["debian-sid", "available"],
            ["debian-trixie", "available"],
        ]
        assert "a box" in listed.stdout
        assert json.loads(run_cli("image", "list", "--available", "--json").stdout)[0]["name"] == "box"
        with pytest.raises(NotFoundError, match="there is no image 'bix'") as caught:
            app.call("image.pull", {"reference": "bix"})
        assert "did you mean 'box'?" in str(caught.value.hint)
        assert nothing_left(app)


def test_kernel_of_a_catalog(start: StartApp, tmp_path: Path) -> None:
    modules = make_rootfs(tmp_path).read_bytes()
    packed = pack([*kernel_members(), ("modules.ext4", modules), ("initrd.img", b"cpio")])
    (tmp_path / "box.tar.zst").write_bytes(packed)
    (tmp_path / "catalog.json").write_bytes(catalog(kernels=(entry(packed, name="tiny"),)))
    app = start(tmp_path / "catalog.json")
    kernel = app.call("kernel.pull", {"reference": "tiny"})["kernel"]
    assert (kernel["name"], kernel["source"], kernel["initrd"]) == ("tiny", "catalog:tiny", True)
    assert kernel["modules_uuid"] is not None
    offers = app.call("kernel.list", {"ask": True})["offers"]
    assert [(offer["name"], offer["state"]) for offer in offers] == [("tiny", "pulled")]


def test_name_that_is_taken_is_refused_before_anything_is_fetched(start: StartApp, www: Path) -> None:
    with serve(partial(answer_file, directory=www)) as lab:
        app = start(f"http://{lab.host}/catalog.json")
        app.services.database.add_image(sample_image("box"))
        with pytest.raises(ConflictError, match="'box' exists and comes from test:box"):
            app.call("image.pull", {"reference": "box"})
        app.services.database.add_kernel(sample_kernel("mine"))
        with pytest.raises(ConflictError, match="a kernel called 'mine' exists"):
            files = write_tree(www / "k") / "boot" / "vmlinuz-6.1.0-9-paper"
            app.call("image.pull", {"reference": "box", "name": "mine", "kernel": str(files)})
        assert lab.count("box.tar.zst") == 0
        app.call("image.pull", {"reference": "box", "name": "other"})
        with pytest.raises(ConflictError, match="'other' is here already, with its kernel and size"):
            app.call("image.pull", {"reference": "box", "name": "other", "size": "64M"})
        assert lab.count("box.tar.zst") == 1


def test_kernel_and_size_as_they_are_asked_for(start: StartApp, www: Path, tmp_path: Path) -> None:
    app = start(www / "catalog.json")
    app.services.database.add_kernel(sample_kernel())
    tree = write_tree(tmp_path / "kernel")
    files = {
        "kernel": str(tree / "boot" / "vmlinuz-6.1.0-9-paper"),
        "initrd": str(tree / "boot" / "initramfs-6.1.0-9-paper.img"),
        "modules": str(tree / "lib" / "modules" / "6.1.0-9-paper"),
    }
    image = app.call("image.pull", {"reference": "box", "size": "64M", **files})["image"]
    kernel = app.call("kernel.show", {"name": "box"})["kernel"]
    assert image["kernel_ref"] == kernel["digest"] and kernel["initrd"] and kernel["modules_uuid"]
    assert image["size_bytes"] == 64 << 20
    with pytest.raises(ConflictError, match="the image 'box' boots with the kernel 'box' only"):
        app.call("kernel.rm", {"name": "box"})
    app.call("image.delete", {"name": "box"})
    app.call("kernel.rm", {"name": "box"})
    image = app.call("image.pull", {"reference": "box", "kernel_ref": "test-kernel"})["image"]
    assert image["kernel_ref"] == "test-kernel"


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"kernel_ref": "a", "kernel": "/b"}, UsageError, "--kernel-ref goes with none of --kernel"),
        ({"kernel_ref": "a", "modules": "/b"}, UsageError, "--kernel-ref goes with none of --kernel"),
        ({"initrd": "/b"}, UsageError, "--initrd and --modules belong to a kernel"),
        ({"kernel": "b"}, UsageError, "--kernel 'b' is not an absolute path"),
        ({"kernel": "/no/such"}, UsageError, "--kernel /no/such: No such file"),
        ({"kernel": "/etc"}, UsageError, "--kernel /etc is not a file"),
        ({"kernel": "/etc/passwd", "modules": "/etc/passwd"}, UsageError, "is not a directory"),
        ({"kernel": "/etc/passwd"}, BangerError, "/etc/passwd"),
        ({"kernel_ref": "nowhere"}, NotFoundError, "there is no kernel 'nowhere'"),
        ({"size": "a lot"}, UsageError, "--size: "),
        ({"size": "1M"}, UsageError, "--size 1M is out of range"),
        ({"size": "17T"}, UsageError, "--size 17T is out of range"),
        ({"name": "../x"}, UsageError, "is not a name for an image"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_before_anything_is_fetched(
    start: StartApp, www: Path, params: dict[str, str], error: type[BangerError], message: str
) -> None:
    with serve(partial(answer_file, directory=www)) as lab:
        app = start(f"http://{lab.host}/catalog.json")
        with pytest.raises(error, match=message) as caught:
            app.call("image.pull", {"reference": "box", **params})
        assert caught.value.hint or error is BangerError
        assert lab.count("box.tar.zst") == 0 and nothing_left(app)
        assert app.services.database.images() == [] and app.services.database.kernels() == []


def test_contradicting_flags_are_refused_by_the_command_too(banger_dirs: BangerDirs, run_cli: RunCli) -> None:
    result = run_cli("image", "pull", "box", "--kernel-ref", "a", "--kernel", "b")
    assert result.status == 2 and "--kernel-ref goes with none of --kernel" in result.stderr
    assert not (banger_dirs.state / "s" / "bangerd.sock").exists(), "no daemon was needed for that"


def test_size_too_little_for_the_content(start: StartApp, tmp_path: Path) -> None:
    publish(tmp_path, pack(image_members(make_rootfs(tmp_path, size_mib=96).read_bytes())))
    app = start(tmp_path / "catalog.json")
    with pytest.raises(ImageError, match="the image is 96M large, which --size 64M is too little for"):
        app.call("image.pull", {"reference": "box", "size": "64M"})
    assert nothing_left(app) and app.services.database.images() == []


def test_kernel_given_as_files_goes_again_when_the_pull_fails(start: StartApp, tmp_path: Path) -> None:
    publish(tmp_path, pack(image_members(b"no file system")))
    app = start(tmp_path / "catalog.json")
    kernel = write_tree(tmp_path / "kernel") / "boot" / "vmlinuz-6.1.0-9-paper"
    with pytest.raises(ImageError, match="is not an ext4 file system"):
        app.call("image.pull", {"reference": "box", "kernel": str(kernel)})
    assert app.services.database.kernels() == [] and list(app.paths.kernels.iterdir()) == []


@pytest.mark.parametrize(("what", "verb"), [("image", "delete"), ("kernel", "rm")])
def test_record_that_cannot_be_read_is_that_error_and_never_a_pull(
    start: StartApp, www: Path, what: str, verb: str
) -> None:
    with serve(partial(answer_file, directory=www)) as lab:
        app = start(f"http://{lab.host}/catalog.json")
        made: Any = sample_image("box") if what == "image" else sample_kernel("box")
        add = app.services.database.add_image if what == "image" else app.services.database.add_kernel
        add(made)
        app.services.database._write(f"UPDATE {what}s SET record = ?", "{}")
        for operation, params in (
            (f"{what}.pull", {"reference": "box"}),
            (f"{what}.show", {"name": "box"}),
            (f"{what}.{verb}", {"name": "box"}),
        ):
            with pytest.raises(StoreError, match=f"the record of the {what} 'box' is damaged"):
                app.call(operation, params)
        assert lab.count("box.tar.zst") == 0


# At once


def test_same_name_is_pulled_once_and_others_beside_it(start: StartApp, www: Path, tmp_path: Path) -> None:
    rootfs = make_rootfs(tmp_path, "other").read_bytes()
    other = pack(image_members(rootfs))
    (www / "other.tar.zst").write_bytes(other)
    box = json.loads((www / "catalog.json").read_text())["images"][0]
    (www / "catalog.json").write_bytes(catalog(box, entry(other, "other.tar.zst", name="other")))
    held, go = threading.Event(), threading.Event()

    def slow(request: Request) -> None:
        if request.path.endswith("box.tar.zst"):
            held.set()
            assert go.wait(60)
        answer_file(request, www)

    with serve(slow) as lab, ThreadPoolExecutor(4) as pool:
        app = start(f"http://{lab.host}/catalog.json")
        pulls = [pool.submit(app.call, "image.pull", {"reference": "box"}) for _ in range(3)]
        assert held.wait(60)
        assert app.call("image.pull", {"reference": "other"})["image"]["name"] == "other"
        assert [image.name for image in app.services.database.images()] == ["other"]
        go.set()
        digests = {task.result(60)["image"]["digest"] for task in pulls}
        assert len(digests) == 1 and lab.count("box.tar.zst") == 1
        assert nothing_left(app)


def test_two_that_want_one_name_have_one_winner(start: StartApp, www: Path, tmp_path: Path) -> None:
    app = start(www / "catalog.json", modules=(debian(tmp_path),))
    calls = [{"reference": "box", "name": "mine"}, {"reference": "debian:bookworm", "name": "mine"}] * 2
    barrier = threading.Barrier(len(calls))

    def call(params: dict[str, str]) -> str:
        barrier.wait(60)
        try:
            return str(app.call("image.pull", params)["image"]["source"])
        except ConflictError as error:
            return error.message

    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(call, calls))
    (winner,) = app.services.database.images()
    assert sorted(set(answers)) == sorted({winner.source, f"'mine' exists and comes from {winner.source}"})
    assert answers.count(winner.source) == 2 and nothing_left(app)


def test_cancelled_pull_leaves_nothing_to_see_and_the_next_goes_on(start: StartApp, www: Path) -> None:
    data = (www / "box.tar.zst").read_bytes()
    held = threading.Event()

    def stall(request: Request) -> None:
        if request.path.endswith("box.tar.zst") and not held.is_set():
            request.send_response(200)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data[:500])
            request.wfile.flush()
            held.set()
            lab.done.wait(60)
        else:
            answer_file(request, www)

    with serve(stall) as lab, ThreadPoolExecutor(1) as pool:
        app = start(f"http://{lab.host}/catalog.json")
        ids: list[str] = []

        def note(event: dict[str, Any]) -> None:
            if event.get("event") == "operation":
                ids.append(event["op_id"])

        task = pool.submit(app.call, "image.pull", {"reference": "box"}, on_event=note)
        assert held.wait(60)
        app.call("op.cancel", {"op_id": ids[0]})
        with pytest.raises(CancelledError):
            task.result(60)
        assert nothing_left(app) and app.services.database.images() == []
        assert app.call("image.pull", {"reference": "box"})["image"]["name"] == "box"


def test_daemon_killed_in_the_middle_leaves_nothing_to_see_and_the_next_pull_goes_on(
    banger_dirs: BangerDirs, www: Path, tmp_path: Path
) -> None:
    data = (www / "box.tar.zst").read_bytes()
    part = banger_dirs.cache / "sources" / "catalog" / "bundles"
    held, go = threading.Event(), threading.Event()

    def stall(request: Request) -> None:
        if request.path.endswith("box.tar.zst") and not go.is_set():
            request.send_response(200)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data[: len(data) // 2])
            request.wfile.flush()
            held.set()
            lab.done.wait(60)
        else:
            answer_file(request, www)

    def banger(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "banger", *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)

    with serve(stall) as lab:
        place = f"http://{lab.host}/catalog.json"
        banger_dirs.write_config(f'[plugins.images-catalog]\ncatalogs = ["{place}"]\n')
        assert banger("vm", "list").returncode == 0
        pid = json.loads(banger("daemon", "status", "--json").stdout)["pid"]
        line = [sys.executable, "-m", "banger", "image", "pull", "box"]
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as pull:
            assert held.wait(60)
            os.kill(pid, signal.SIGKILL)
            _, said = pull.communicate(timeout=60)
        assert pull.returncode == 1 and "Traceback" not in said
        assert list((banger_dirs.state / "staging").iterdir()) != []
        go.set()
        assert json.loads(banger("image", "list", "--json").stdout) == []
        assert list((banger_dirs.state / "staging").iterdir()) == []
        done = banger("image", "pull", "box")
        assert done.returncode == 0, done.stderr
        assert [image["name"] for image in json.loads(banger("image", "list", "--json").stdout)] == ["box"]
        assert list((banger_dirs.state / "staging").iterdir()) == [] and list(part.iterdir()) == []
