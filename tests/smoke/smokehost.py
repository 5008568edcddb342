"""A whole Debian in a VM, with systemd, KVM and the wheel of this source, to install banger on and to look at."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.vm.vmring import Home, Result, Ring, _recipe, program

ROOT = Path(__file__).parents[2]
NAME = "host"
#: What the host has besides Debian's lean set: what banger runs, and what shows traces of it.
PACKAGES = "python3,qemu-system-x86,qemu-utils,mmdebstrap,e2fsprogs,uidmap,nftables,dmsetup,systemd-resolved"
IMAGE = f"debian:bookworm+{PACKAGES}"
#: Seconds for calls of all kinds: emulation is slow, and a call that hangs must end all the same.
BOOT, BUILD, CALL = 600.0, 1800.0, 600.0
#: The version of Python's that the host has; compiled libraries are those of the interpreter that runs this.
PYTHON = "3.11"
#: Waits until the host's daemon answers its owner.
ANSWERS = "timeout 300 sh -c 'until banger system status > /dev/null 2>&1; do sleep 1; done'"
#: Installs again where the services run other code than the owner has now.
UPDATED = (
    "cd ~/venv/lib/python3.11/site-packages && diff --recursive --brief --exclude '*.pyc' --exclude __pycache__ "
    "banger /usr/local/lib/banger/daemon/lib/python3.11/site-packages/banger > /dev/null || "
    'sudo "$(command -v banger)" system install --owner "$USER"'
)
TRIES = 5
#: What the host is: 4 GiB for several VMs of 256 MiB. One processor: its kernel rewrites code of the scheduler at the
#: first VM of KVM's and after the last (preempt_notifier_key), and QEMU's TCG with two of them goes on to run the
#: breakpoint of meanwhile: both are in exc_int3 for good.
SIZES = ("--memory", "4G", "--vcpu", "1", "--overlay-size", "16G")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
_SAME = ("--only-binary", ":all:", "--python-version", PYTHON)
_PROGRAMS = ("firecracker", "jailer")
#: The second time: whatever VM there is, is in Firecracker.
IN_FIRECRACKER = os.environ.get("BANGER_TEST_VMM") == "firecracker"
_CAPACITY = re.compile(r"link (br-banger|bgrp-)|nft table (ip|bridge) banger")
_TRACES = (Path(__file__).with_name("traces.sh")).read_text()
_PREPARE = (Path(__file__).with_name("prepare.sh")).read_text()
_INSTALL = (Path(__file__).with_name("install.sh")).read_text()


class Host:
    """The VM: commands in it, what is on it, evidence of it.

    :param kept: it stays, and system mode on it, for who writes a scenario.
    """

    def __init__(self, home: Home, *, kept: bool = False) -> None:
        self.home, self.kept = home, kept

    def __call__(
        self, script: str, *, user: str = "alice", timeout: float = CALL, input: bytes = b""
    ) -> Result:
        """Run a shell script as a user of the host's."""
        line = ("runuser", "--login", user, "--command", script)
        return self.home.exec(NAME, *line, input=input, timeout=timeout)

    def ok(self, script: str, *, user: str = "alice", timeout: float = CALL) -> str:
        """Run a script that has to succeed; what it printed."""
        done = self(script, user=user, timeout=timeout)
        assert done.status == 0, f"{user}: {script}: status {done.status}\n{done.text}\n{done.err}"
        return done.text

    def put_firecracker(self) -> None:
        """Put Firecracker and its jailer where the services find them: new VMs are run in it from then on."""
        for name in _PROGRAMS:
            self.home.ok("vm", "cp", str(find_program(name)), f"{NAME}:/usr/local/bin/{name}")
            self.ok(f"chown root: /usr/local/bin/{name}; chmod 755 /usr/local/bin/{name}", user="root")

    def remove_firecracker(self) -> None:
        """Have new VMs run in QEMU."""
        self.ok(f"cd /usr/local/bin; rm -f {' '.join(_PROGRAMS)}", user="root")

    def have_vm(self, name: str) -> None:
        """Have a VM of alice's that runs; emulated twice it may need several tries on a busy machine."""
        line = "banger vm exec {0} -- true || banger vm start {0} --wait agent ||"
        line += " banger vm create --name {0} --wait agent"
        for _ in range(TRIES):
            done = self(line.format(name))
            if done.status == 0:
                return
        raise AssertionError(f"'{name}' does not run: {done.err}")

    def shown(self, name: str) -> dict[str, Any]:
        """Return the record of a VM of alice's."""
        record: dict[str, Any] = json.loads(self.ok(f"banger vm show {name} --json"))["vm"]
        return record

    def traces(self, *, capacity: bool = True) -> list[str]:
        """Return links, rules, devices, processes, sockets and files that banger could have left.

        :param capacity: also what stays for the next VM on purpose: the bridge with its tables, and taps that wait.
        """
        found = filter(None, self.ok(_TRACES, user="root").splitlines())
        return sorted(line for line in found if capacity or not _CAPACITY.match(line))

    def reboot(self) -> None:
        """Stop the host as a power button does, and boot it again."""
        self.home.ok("vm", "stop", NAME, timeout=CALL)
        started = self.home("vm", "start", NAME, timeout=BOOT)
        for _ in range(TRIES):
            if started.status == 0:
                break
            started = self.home("vm", "start", NAME, timeout=BOOT)
        assert started.status == 0, started.err

    def save_evidence(self, folder: Path) -> None:
        """Write down how the host is, for whoever looks into a failure."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, command in {
            "journal": "journalctl --no-pager --lines 2000",
            "nft": "nft list ruleset",
            "dmsetup": "dmsetup ls --tree; losetup --all",
            "ip": "ip -d link; ip addr; ip route; resolvectl status",
            "processes": "ps axfo pid,ppid,user,args",
            "files": "find /run/banger /run/bangerd-root /var/lib/banger /etc/banger -ls",
            "daemon": "cat /var/lib/banger/bangerd.log",
        }.items():
            with contextlib.suppress(AssertionError):
                done = self(f"{command} 2>&1", user="root", timeout=120)
                (folder / f"{name}.txt").write_bytes(done.out)
        for log in self.home.state.glob("vms/*/*.log"):
            shutil.copy(log, folder / f"console-{log.name}")


def find_program(name: str) -> Path | None:
    """Return where firecracker or its jailer is on this machine."""
    firecracker = os.environ.get("BANGER_TEST_FIRECRACKER") or shutil.which("firecracker")
    if name == "firecracker" or firecracker is None:
        return Path(firecracker).resolve() if firecracker else None
    jailer = os.environ.get("BANGER_TEST_JAILER") or str(Path(firecracker).with_name("jailer"))
    return Path(jailer).resolve() if os.path.exists(jailer) else None


def has_firecracker() -> bool:
    """Tell whether both programs are here."""
    return all(find_program(name) is not None for name in _PROGRAMS)


def prepared(ring: Ring) -> Path:
    """Return a home that has the host's image with all but banger itself; built once for these inputs, as a user would.

    A host of Debian's packages is booted, gets users, libraries, and an image and a kernel to start VMs from, and is
    committed.
    """
    needs = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("\n]")[0]

    def make(home: Home) -> None:
        boot(home, "smoke-base")
        with tempfile.TemporaryDirectory() as folder:
            feed(home, _PREPARE, _pack_libraries(Path(folder), ring))
        home.ok("vm", "stop", NAME, timeout=CALL)
        home.ok("image", "commit", NAME, "smoke-host", timeout=BUILD)
        home.ok("vm", "delete", NAME)
        home.ok("image", "delete", "smoke-base")

    return _kept(ring, "smoke", (_recipe(), PACKAGES, PYTHON, _PREPARE, needs), lambda: _base(ring), make)


def _base(ring: Ring) -> Path:
    """Return a home that has an image of Debian's packages."""

    def make(home: Home) -> None:
        home.ok("image", "pull", "--name", "smoke-base", IMAGE, timeout=BUILD)

    return _kept(ring, "smoke-base", (_recipe(), PACKAGES), lambda: ring.pulled, make)


def _kept(
    ring: Ring,
    name: str,
    inputs: tuple[str, ...],
    start: Callable[[], Path],
    make: Callable[[Home], None],
) -> Path:
    """Return a home that was made once for these inputs; what was cut off leaves nothing that looks whole.

    :param start: returns the home that it is made from.
    """
    kept = ring.base / f"{name}-{hashlib.sha256(' '.join(inputs).encode()).hexdigest()[:10]}"
    if kept.is_dir():
        return kept
    making = Path(tempfile.mkdtemp(prefix="p", dir=ring.base))
    home = Home(making / "h", program(), pulled=start())
    try:
        try:
            make(home)
        finally:
            home("vm", "delete", "--force", NAME)
            home.close_daemon()
        home.base.rename(kept)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return kept


def boot(home: Home, image: str) -> None:
    """Boot the host; on a machine that has others to serve the first try may be too slow."""
    created = home("vm", "create", "--name", NAME, "--image", image, *SIZES, timeout=BOOT)
    for _ in range(TRIES):
        if created.status == 0:
            return
        created = home("vm", "start", NAME, timeout=BOOT)
    assert created.status == 0, created.err


@contextlib.contextmanager
def booted(ring: Ring, kept: Path | None = None) -> Iterator[Host]:
    """Have a host that runs, with two users, banger for both of them, and an image and a kernel to start VMs from.

    :param kept: the directory of one that stays when this ends, and may be there from before.
    """
    with ring.alone():
        made = None if kept and kept.exists() else prepared(ring)
        home = Home(kept or Path(tempfile.mkdtemp(prefix="s", dir=ring.base)), program(), pulled=made)
    host = Host(home, kept=kept is not None)
    try:
        if home.exec(NAME, "true", timeout=BOOT).status != 0:
            boot(home, "smoke-host")
        with tempfile.TemporaryDirectory() as folder:
            with ring.alone():
                archive = _pack_banger(Path(folder))
            feed(home, _INSTALL, archive)
        yield host
    finally:
        if not host.kept:
            drop(home)


def drop(home: Home) -> None:
    """End a host, and remove all that it has."""
    home("vm", "delete", "--force", NAME)
    home.close()


def feed(home: Home, script: str, archive: Path) -> None:
    """Run a script as root on the host, with an archive at its standard input."""
    with open(archive, "rb") as file:
        process = home.start("vm", "exec", NAME, "--", "bash", "-ec", script, stdin=file)
        _, err = process.communicate(timeout=BUILD)
    assert process.returncode == 0, err.decode(errors="replace")


def _pack_banger(folder: Path) -> Path:
    """Make an archive of the installed wheel of this source, ``banger/``."""
    site = folder / "banger"
    _run([*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("*.whl")
    _run([*PIP, "install", "--quiet", "--no-deps", "--target", str(site), *_SAME, str(wheel)])
    archive = folder / "banger.tar"
    _run(["tar", "--create", f"--file={archive}", "-C", str(folder), "banger"])
    return archive


def _pack_libraries(folder: Path, ring: Ring) -> Path:
    """Make an archive of what banger depends on, ``site/``, and of what VMs start from, ``seed/``."""
    site = folder / "site"
    _run([*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("*.whl")
    _run([*PIP, "install", "--quiet", "--target", str(site), *_SAME, str(wheel)])
    names = [path.name.partition("-")[0] for path in site.glob("banger*")]
    for name in {"banger", *names}:
        shutil.rmtree(site / name, ignore_errors=True)
    for info in site.glob("banger-*.dist-info"):
        shutil.rmtree(info)
    into_seed = r"s,^\(banger\.db\|images\|kernels\),seed/\1,"
    seed = ("-C", str(ring.pulled / "s" / "banger"), "banger.db", "images", "kernels")
    archive = folder / "libraries.tar"
    create = ["tar", "--create", "--sparse", f"--file={archive}", "--transform", into_seed]
    _run([*create, "-C", str(folder), "site", *seed])
    return archive


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
