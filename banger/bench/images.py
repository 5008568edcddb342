"""A pull of a container image against the tools that do its parts, from one registry on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from banger.bench.container import make_image
from banger.bench.figures import program
from banger.bench.measure import Figure, Target, interleave, run_timed
from banger.cli.output import say
from banger.errors import HostError

#: What is needed, and the Debian package that has it.
_PROGRAMS = {
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "umoci": "umoci",
    "mkfs.ext4": "e2fsprogs",
}
_NAME = "bench-image"
_START = 30.0
#: Seconds that one step gets, whatever the image's size and the machine's other work.
_LIMIT = 3600.0


def measure_pulls(rounds: int, mebibytes: int) -> list[Target]:
    """Measure pulls of an image of so many MiB, nothing being cached, and the daemon's memory meanwhile.

    Everything happens in a home of its own: no image of the user's is touched.
    """
    missing = [package for name, package in _PROGRAMS.items() if shutil.which(name) is None]
    if missing:
        raise HostError(f"{', '.join(missing)}: not installed", hint=f"sudo apt install {' '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="banger-bench-") as name:
        base = Path(name)
        say(f"making an image of {mebibytes} MiB")
        layout = make_image(base / "layout", mebibytes)
        with _registry(base) as host, _home(base) as home:
            image = f"{host}/bench/image:v1"
            _skopeo("--dest-tls-verify=false", f"oci:{layout}:latest", f"docker://{image}")
            shutil.rmtree(layout)
            return _measure(rounds, home, base, image, mebibytes)


def _measure(rounds: int, home: _Home, base: Path, image: str, mebibytes: int) -> list[Target]:
    say(f"measuring: {rounds} rounds")
    growth: list[float] = []
    tools = f"skopeo copy, umoci unpack, mkfs.ext4 -d ({mebibytes} MiB)"
    figures = interleave(
        rounds,
        {
            tools: lambda: _with_tools(base / "tools", image, mebibytes),
            "banger image pull": lambda: _with_banger(home, image, growth),
        },
    )
    memory = Figure("the daemon's memory above rest, at most", "MiB", tuple(growth))
    return [Target(figures["banger image pull"], figures[tools], 0.7), Target(memory, None, 200)]


def _with_tools(work: Path, image: str, mebibytes: int) -> float:
    work.mkdir()
    try:
        took = _skopeo("--src-tls-verify=false", f"docker://{image}", f"oci:{work}/layout:latest")
        rootless = ["--rootless"] if os.geteuid() != 0 else []
        took += run_timed(
            ["umoci", "unpack", *rootless, "--image", f"{work}/layout:latest", f"{work}/unpacked"],
            limit=_LIMIT,
        )
        size = f"{mebibytes * 3 // 2 + 96}M"
        took += run_timed(
            ["mkfs.ext4", "-q", "-d", f"{work}/unpacked/rootfs", f"{work}/rootfs.ext4", size], limit=_LIMIT
        )
    finally:
        shutil.rmtree(work)
        os.sync()
    return took


def _with_banger(home: _Home, image: str, growth: list[float]) -> float:
    with home.watch_memory(growth):
        took = home.run("image", "pull", image, "--name", _NAME)
    home.run("image", "delete", _NAME)
    home.run("image", "cache", "prune")
    os.sync()
    return took


def _skopeo(*arguments: str) -> float:
    return run_timed(["skopeo", "--insecure-policy", "copy", "-q", *arguments], limit=_LIMIT)


class _Home:
    """Directories and a daemon that are there for the measurement only."""

    def __init__(self, base: Path) -> None:
        kinds = ("STATE", "CACHE", "CONFIG", "DATA")
        self._environment = {f"XDG_{kind}_HOME": os.fspath(base / kind.lower()) for kind in kinds}
        self._lock = base / "state/banger/bangerd.lock"

    def run(self, *arguments: str) -> float:
        """Run the command line and return the seconds that took."""
        return run_timed([*program(), *arguments], self._environment, _LIMIT)

    @contextmanager
    def watch_memory(self, growth: list[float]) -> Iterator[None]:
        """Add the most that the daemon's own memory grew by meanwhile, in MiB."""
        self.run("image", "list")
        status = Path(f"/proc/{int(self._lock.read_text())}/status")
        rest = peak = _resident(status)
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.02):
                peak = max(peak, _resident(status))

        thread = threading.Thread(target=watch, name="banger-bench", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        growth.append(peak - rest)


def _resident(status: Path) -> float:
    """Return the MiB of memory that a process has, files it maps left out."""
    for line in status.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise HostError(f"{status} has no RssAnon")


@contextmanager
def _home(base: Path) -> Iterator[_Home]:
    home = _Home(base)
    try:
        yield home
    finally:
        home.run("daemon", "stop", "--force")


@contextmanager
def _registry(base: Path) -> Iterator[str]:
    """Run Debian's docker-registry on a free loopback port and give its host:port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = base / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: {base / 'registry'}}}}}\n"
    )
    with open(base / "registry.log", "wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        _wait_for(process, port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise HostError(
        f"docker-registry does not answer within {_START:.0f} s", hint="try it by hand: docker-registry serve"
    )
