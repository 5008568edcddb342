"""Container images in real VMs: what has neither init nor distribution boots and runs as its makers meant it."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from vmring import Home, finish, until

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "images_oci"))

from registry_lab import entry, make_layout, make_tar, missing_programs, push, run_registry

_PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char here[256];
    printf("%d %d %d %s %s", getpid() != 1, getuid(), getgid(), getcwd(here, sizeof here), getenv("GREETING"));
    for (int i = 1; i < argc; i++) printf(" %s", argv[i]);
    return puts("") < 0 ? 1 : 7;
}
"""
_DIR, _LINK = b"5", b"2"


def _static_layer(directory: Path) -> bytes:
    """Return a layer that holds one static program and nothing else."""
    (directory / "main.c").write_text(_PROGRAM)
    program = directory / "hello"
    subprocess.run(["cc", "-static", "-o", program, directory / "main.c"], check=True, timeout=60)
    return make_tar([entry("app/hello", program.read_bytes(), mode=0o755)])


def _busybox_layers() -> list[bytes]:
    """Return the layers of a system of busybox alone, its libraries being what ldd says."""
    found = shutil.which("busybox")
    assert found is not None
    said = subprocess.run(["ldd", found], capture_output=True, text=True, timeout=60).stdout
    libraries = [word for word in said.split() if word.startswith("/")]
    base = [
        entry("bin/busybox", Path(found).read_bytes(), mode=0o755),
        *(entry(library[1:], Path(library).read_bytes(), mode=0o755) for library in libraries),
        *(entry(f"bin/{name}", kind=_LINK, linkname="busybox") for name in ("sh", "id", "stat", "ls", "cat")),
        entry("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1234:1234::/srv:/bin/sh\n"),
        entry("etc/group", b"root:x:0:\napp:x:1234:\nweb:x:77:app\n"),
        entry("srv/old", b"old"),
    ]
    upper = [
        entry("srv", kind=_DIR, mode=0o2750, uid=1234, gid=77),
        entry("srv/.wh.old"),
        entry("srv/new", b"new", mode=0o640, uid=1234, gid=77),
    ]
    return [make_tar(base), make_tar(upper)]


def test_a_static_program_is_all_an_image_needs(alone: Home, tmp_path: Path) -> None:
    config = {
        "User": "65532:65533",
        "WorkingDir": "/work",
        "Env": ["GREETING=hello"],
        "Entrypoint": ["/app/hello", "a b"],
        "Cmd": ["c"],
    }
    if missing := missing_programs("docker-registry", "skopeo"):
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    layout = make_layout(tmp_path / "static", [_static_layer(tmp_path)], config)
    with run_registry(tmp_path) as host:
        push(layout, f"{host}/lab/static:v1")
        result = alone("vm", "run", "--rm", "--image", f"{host}/lab/static:v1")
    assert result.text == "1 65532 65533 /work hello a b c"
    assert result.status == 7
    alone.assert_clean()
    again = layout.rename(tmp_path / "again")
    result = alone.ok("vm", "create", "--no-start", "--name", "second", "--image", f"oci-layout:{again}")
    assert "it is the same as static-v1, which is here" in result.err
    alone.ok("vm", "delete", "second")
    assert alone.ok("image", "show", "static-v1", "--json").json["image"]["user"] == "65532:65533"


def test_busybox_from_a_registry(alone: Home, tmp_path: Path) -> None:
    if missing := missing_programs("busybox", "docker-registry", "skopeo"):
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    config = {"User": "app:web", "WorkingDir": "/srv", "Env": ["GREETING=hello"], "Cmd": ["/bin/sh"]}
    layout = make_layout(tmp_path / "box", _busybox_layers(), config)
    with run_registry(tmp_path) as host:
        push(layout, f"{host}/lab/box:v1")
        script = (
            "id -u; id -G; pwd; echo $GREETING; stat -c '%a %u %g' . new; ls; echo more >> new && cat new"
        )
        line = ("vm", "run", "--rm", "--image", f"{host}/lab/box:v1", "--", "sh", "-c", script)
        result = alone.ok(*line)
    expected = ["1234", "77", "/srv", "hello", "2750 1234 77", "640 1234 77", "new", "newmore"]
    assert result.text.splitlines() == expected
    alone.assert_clean()
    assert [
        image["name"] for image in alone.ok("image", "list", "--json").json if "box" in image["name"]
    ] == ["box-v1"]


def test_init_says_which(alone: Home, tmp_path: Path) -> None:
    if missing := missing_programs("busybox"):
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    inittab = b"::sysinit:/bin/busybox touch /run/began\n"
    own = [
        entry("sbin/init", kind=_LINK, linkname="../bin/busybox"),
        entry("sbin/poweroff", kind=_LINK, linkname="../bin/busybox"),
        entry("etc/inittab", inittab),
    ]
    layout = make_layout(tmp_path / "own", [*_busybox_layers(), make_tar(own)])
    alone.ok("vm", "create", "--name", "own", "--image", f"oci-layout:{layout}")
    until(lambda: alone.exec("own", "ls", "/run/began").status == 0, 60, "busybox's init did nothing")
    assert alone.sh("own", "cat /proc/1/cmdline").rstrip("\0") == "init"
    alone.ok("vm", "stop", "own")
    assert "Requesting system poweroff" in alone.ok("vm", "logs", "own").text  # busybox says so
    alone.ok("vm", "delete", "own")
    line = ("vm", "run", "--rm", "--init", "agent", "--image", "own", "--", "cat", "/proc/1/comm")
    assert alone.ok(*line).text == "banger-agent"


#: Seconds after a pull has begun to write, at which its daemon is killed; whatever it did by then, the same is true.
_MOMENTS = (0.0, 0.2, 0.6)


def _check_store(home: Home, name: str) -> bool:
    """Tell whether an image is there; it is whole then, and nothing else is."""
    images = home.ok("image", "list", "--json").json
    assert home.leftovers() == []
    kept = {image["digest"].removeprefix("sha256:")[:32] for image in images}
    assert {path.name for path in (home.state / "images").iterdir()} == kept
    for image in images:
        if image["name"] == name:
            disk = home.state / "images" / image["digest"].removeprefix("sha256:")[:32] / "rootfs.ext4"
            subprocess.run(["e2fsck", "-fn", disk], check=True, capture_output=True, timeout=60)
            return True
    return False


def test_a_daemon_that_is_killed_while_it_pulls_leaves_nothing(alone: Home, tmp_path: Path) -> None:
    if missing := missing_programs("docker-registry", "skopeo"):
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    layers = [
        make_tar([entry(f"noise/{layer}", random.Random(layer).randbytes(12 << 20))]) for layer in range(3)
    ]
    with run_registry(tmp_path) as host:
        push(make_layout(tmp_path / "big", layers), f"{host}/lab/big:v1")
        for moment in _MOMENTS:
            alone.daemon_pid()
            pull = alone.start("image", "pull", f"{host}/lab/big:v1")
            staging = alone.state / "staging"
            until(
                lambda pull=pull, staging=staging: pull.poll() is not None or any(staging.glob("*/*")),
                60,
                "the pull did not begin",
            )
            time.sleep(moment)
            alone.kill_daemon()
            finish(pull)
            if _check_store(alone, "big-v1"):
                alone.ok("image", "delete", "big-v1")
        alone.ok("image", "pull", f"{host}/lab/big:v1")
    assert _check_store(alone, "big-v1")
