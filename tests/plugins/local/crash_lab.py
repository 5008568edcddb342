"""Daemons that end by SIGKILL at one chosen thing they do to files; run as a process of its own.

A daemon with an image, a stopped VM and an archive is made once. Each trial copies its home, does an operation in a
forked daemon that kills itself at the chosen moment, and lets the next daemon say what it finds. Prints JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What Python tells its audit hooks of before it does it, and changes something by it or makes it last.
_TELLING = frozenset(
    "open os.rename os.mkdir os.rmdir os.remove os.link os.symlink os.chmod os.truncate subprocess.Popen".split()
)
#: Moments of one operation that are tried, of those there are.
TRIALS = 7

Call = tuple[str, dict[str, Any]]


def fork(work: Callable[[], Any]) -> tuple[int, Any]:
    """Do something in a child; its status (negative for a signal) and what it returned."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(ours)
            with os.fdopen(theirs, "w") as pipe:
                json.dump(work(), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, json.loads(said) if said else None


def go_home(home: Path) -> None:
    """Make a directory the home of whatever daemon comes next."""
    for kind in ("STATE", "CACHE", "CONFIG", "DATA"):
        os.environ[f"XDG_{kind}_HOME"] = str(home / kind.lower())


def daemon() -> Any:
    """Return a daemon with this plugin and VMs on paper; a context manager."""
    from banger.testing.app import BangerApp
    from banger.testing.plugin_sets import load_chosen
    from tests.core.daemon.paper_lab import make_lab

    return BangerApp(load_chosen([make_lab()], builtin=["core", "local", "workdisk", "images-oci"]))


def furnish(base: Path) -> Any:
    """Make the home that all trials begin with: an image, its kernel, a VM that is down, an archive of another."""
    from banger.daemon.publish import content_dir
    from banger.host.command import HostCommands
    from banger.host.disk import HostDisks
    from banger.model.vm import VmState
    from banger.testing.samples import sample_kernel, sample_vm
    from tests.plugins.images_oci.registry_lab import entry, make_layout, make_tar
    from tests.plugins.local.paper_kernel import write_tree

    make_layout(base / "layout", [make_tar([entry(f"{number}/file", b"x" * 50_000)]) for number in range(3)])

    tools = HostDisks(HostCommands())
    content = base / "content"
    (content / "root").mkdir(parents=True)
    (content / "root" / ".profile").write_text("export A=1\n")
    tools.make_ext4(
        base / "rootfs.ext4", 8, uuid=f"1{'1' * 7}-2222-4333-8444-{'5' * 12}", label="r", content=content
    )
    (content / "root" / "other").touch()
    tools.make_ext4(
        base / "other.ext4", 8, uuid=f"2{'1' * 7}-2222-4333-8444-{'5' * 12}", label="r", content=content
    )
    with daemon() as app:
        app.services.database.add_kernel(sample_kernel())
        app.call("kernel.import", {"name": "built", "directory": str(write_tree(base / "tree"))})
        app.call(
            "image.register", {"name": "other", "rootfs": str(base / "other.ext4"), "kernel_ref": "built"}
        )
        app.call("image.export", {"name": "other", "path": str(base / "other.tar.zst")})
        app.call("image.delete", {"name": "other"})
        app.call("kernel.rm", {"name": "built"})
        image = app.call("image.register", {"name": "mine", "rootfs": str(base / "rootfs.ext4")})["image"]
        vm = sample_vm(name="web", image=image["digest"], state=VmState.STOPPED)
        app.services.database.add_vm(vm)
        directory = app.paths.vms / vm.id
        directory.mkdir()
        tools.make_overlay(
            directory / "root.qcow2", content_dir(app.paths.images, image["digest"]) / "rootfs.ext4", 64
        )
        tools.make_ext4(
            directory / "work.ext4",
            32,
            uuid=f"3{'1' * 7}-2222-4333-8444-{'5' * 12}",
            label="w",
            content=content,
        )
    return find_state()


def find_state() -> dict[str, Any]:
    """Say what a new daemon has: names, and everything in its store that is not as its row says."""
    from banger.daemon.publish import content_dir
    from banger.host.disk import digest_file

    with daemon() as app:
        images, kernels = app.services.database.images(), app.services.database.kernels()
        owned = {content_dir(app.paths.images, image.digest) for image in images}
        owned |= {content_dir(app.paths.kernels, kernel.digest) for kernel in kernels}
        places = [app.paths.images, app.paths.kernels, app.paths.staging, app.paths.journal]
        there = {entry for place in places if place.is_dir() for entry in place.iterdir()}
        wrong = [str(entry) for entry in there - owned]
        for image in images:
            directory = content_dir(app.paths.images, image.digest)
            if digest_file(directory / "rootfs.ext4") != image.digest:
                wrong.append(f"{image.name} is not what it is said to be")
            needed = {"manifest.json", "work-seed.ext4"} - (
                {"work-seed.ext4"} if image.name == "pulled" else set()
            )
            if not needed <= {entry.name for entry in directory.iterdir()}:
                wrong.append(f"{image.name} is not whole")
        wrong += [str(app.paths.state / name) for name in app.paths.state.rglob(".banger-*")]
        vms = {
            f"{vm.name} {vm.state} {disk.name}": digest_file(disk)
            for vm in app.services.database.vms()
            for disk in (app.paths.vms / vm.id).glob("*.*[24]")
        }
        return {
            "images": [image.name for image in images],
            "kernels": [kernel.name for kernel in kernels],
            "files": [file.name for file in app.paths.state.parent.glob("*.tar.zst")],
            "wrong": wrong,
            "vms": vms,
        }


def perform(home: Path, call: Call, kill_at: int | None) -> list[str]:
    """Do an operation, and end at that moment of it; what the moments were."""
    moments: list[str] = []
    armed = False

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not armed or event not in _TELLING:
            return
        if event != "subprocess.Popen" and not any(str(home) in str(word) for word in arguments[:2]):
            return
        if event == "open" and "bangerd" in str(arguments[0]):
            return
        if len(moments) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        moments.append(f"{event} {str(arguments[0])[-60:]}")

    with daemon() as app:
        sys.addaudithook(watch)
        armed = True
        app.call(*call)
        armed = False
    return moments


def choose_moments(moments: list[str]) -> list[int]:
    """Return which to try: the renames that make something visible and what follows them, and some in between."""
    turns = {at for at, moment in enumerate(moments) if moment.startswith(("os.rename", "os.link"))}
    chosen = sorted(turns | {at + 1 for at in turns if at + 1 < len(moments)})[-4:]
    step = max(1, len(moments) // (TRIALS - len(chosen)))
    return sorted({*chosen, *range(0, len(moments), step)})


def attempt(
    base: Path, operation: str, kill_at: int | None, home: Path | None = None
) -> tuple[int, Any, Any]:
    """Do an operation in a copy of the home, or in that one; its status, what it left, its moments."""
    if home is None:
        home = base / f"h{kill_at}"
        subprocess.run(["cp", "-a", "--sparse=always", base / "home", home], check=True)
    go_home(home)
    calls: dict[str, Call] = {
        "import": ("image.import", {"path": str(base / "other.tar.zst"), "name": "other"}),
        "pull": ("image.pull", {"reference": f"oci-layout:{base / 'layout'}", "name": "pulled"}),
        "commit": ("image.commit", {"vm": "web", "name": "ready"}),
        "promote": ("image.promote", {"name": "mine"}),
        "export": ("image.export", {"name": "mine", "path": str(home / "state" / "mine.tar.zst")}),
    }
    status, moments = fork(lambda: perform(home, calls[operation], kill_at))
    return status, fork(find_state)[1], moments


def main() -> None:
    base, operation = Path(sys.argv[1]), sys.argv[2]
    # Killing a process loses nothing that it wrote; only a machine that stops does.
    os.fsync = lambda fd: None
    from banger_local import flatten, seed

    seed._LEAST_MIB, flatten._AIR_BLOCKS = 8, 64
    go_home(base / "first")
    with daemon() as app:  # whatever is imported late is imported here, once for all
        app.call("vm.list")
    go_home(base / "home")
    status, before = fork(lambda: furnish(base))
    assert status == 0
    status, after, moments = attempt(base, operation, None)
    assert status == 0
    results: list[dict[str, Any]] = []
    for at in choose_moments(moments):
        status, found, _ = attempt(base, operation, at)
        again = None
        if found not in (before, after, *(result["found"] for result in results)):
            again = attempt(base, operation, None, home=base / f"h{at}")[1]
        results.append({"moment": moments[at], "status": status, "found": found, "again": again})
    json.dump({"before": before, "after": after, "moments": len(moments), "results": results}, sys.stdout)


if __name__ == "__main__":
    main()
