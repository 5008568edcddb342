"""A whole Debian in a VM, with systemd, KVM and the wheel of this source, to install banger on and to look at."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
_TRACES = (Path(__file__).with_name("traces.sh")).read_text()
_PREPARE = (Path(__file__).with_name("prepare.sh")).read_text()


class Host:
    """The VM: commands in it, what is on it, evidence of it."""

    def __init__(self, home: Home) -> None:
        self.home = home

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

    def traces(self) -> list[str]:
        """Return links, rules, devices, processes, sockets and files that banger could have left."""
        return sorted(filter(None, self.ok(_TRACES, user="root").splitlines()))

    def save_evidence(self, folder: Path) -> None:
        """Write down how the host is, for whoever looks into a failure."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, command in {
            "journal": "journalctl --no-pager --lines 2000",
            "nft": "nft list ruleset",
            "dmsetup": "dmsetup ls --tree; losetup --all",
            "ip": "ip -d link; ip addr; ip route",
            "processes": "ps axfo pid,ppid,user,args",
            "files": "find /run/banger /run/bangerd-root /var/lib/banger /etc/banger -ls",
            "daemon": "cat /var/lib/banger/bangerd.log",
        }.items():
            with contextlib.suppress(AssertionError):
                done = self(f"{command} 2>&1", user="root", timeout=120)
                (folder / f"{name}.txt").write_bytes(done.out)
        for log in self.home.state.glob("vms/*/*.log"):
            shutil.copy(log, folder / f"console-{log.name}")


def prepared(ring: Ring) -> Path:
    """Return a home that has the host's image; built once for these inputs, as a user would."""
    key = hashlib.sha256(f"{_recipe()} {IMAGE}".encode()).hexdigest()[:10]
    kept = ring.base / f"smoke-{key}"
    if kept.is_dir():
        return kept
    making = Path(tempfile.mkdtemp(prefix="p", dir=ring.base))
    home = Home(making / "h", program(), pulled=ring.pulled)
    home.ok("image", "pull", "--name", "smoke-host", IMAGE, timeout=BUILD)
    home.close_daemon()
    home.base.rename(kept)
    shutil.rmtree(making)
    return kept


@contextlib.contextmanager
def booted(ring: Ring, count: int) -> Iterator[Host]:
    """Have a host that runs, with two users, banger for both of them, and an image and a kernel to start VMs from."""
    home = Home(ring.base / f"{os.getpid() % 100000}.s{count}", program(), pulled=prepared(ring))
    try:
        sizes = ("--memory", "4G", "--vcpu", "2", "--overlay-size", "16G")
        home.ok("vm", "create", "--name", NAME, "--image", "smoke-host", *sizes, timeout=BOOT)
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder, "all.tar")
            _pack(archive, Path(folder), ring)
            host = Host(home)
            with open(archive, "rb") as file:
                process = home.start("vm", "exec", NAME, "--", "bash", "-ec", _PREPARE, stdin=file)
                _, err = process.communicate(timeout=BOOT)
            assert process.returncode == 0, err.decode(errors="replace")
        yield host
    finally:
        home("vm", "delete", "--force", NAME)
        home.close()


def _pack(archive: Path, folder: Path, ring: Ring) -> None:
    """Make one archive of the installed wheel with what it needs, and of what VMs start from."""
    site, pip = folder / "site", [sys.executable, "-m", "pip"]
    _run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("*.whl")
    same = ("--only-binary", ":all:", "--python-version", PYTHON)
    _run([*pip, "install", "--quiet", "--target", str(site), *same, str(wheel)])
    into_seed = r"s,^\(banger\.db\|images\|kernels\),seed/\1,"
    seed = ("-C", str(ring.pulled / "s" / "banger"), "banger.db", "images", "kernels")
    create = ["tar", "--create", "--sparse", f"--file={archive}", "--transform", into_seed]
    _run([*create, "-C", str(folder), "site", *seed])


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
