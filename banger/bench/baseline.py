"""The baseline: a bare QEMU with the same kernel, image, accelerator and machine, reached over ssh.

Its command line is that of a VM of banger's, with disks, sockets and network of its own; even the initramfs is the
same, because every other one would be slower. What it lacks is banger: the first command has to wait for sshd.
"""

from __future__ import annotations

import copy
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from banger.bench.measure import LIMIT, run_timed
from banger.cli.client import Client
from banger.errors import HostError, VmmError

_DISKS = ("root.qcow2", "work.ext4")
_ROOT = "root@127.0.0.1"


class Baseline:
    """Everything a bare machine is started from, in a temporary directory."""

    def __init__(self, client: Client, vm: dict[str, Any], directory: Path) -> None:
        """Take command line and disks from a running VM; stops it.

        :param vm: what ``vm.show`` says of it.
        """
        self._directory = directory
        self._key = directory / "key"
        self._port = _free_port()
        argv = Path(f"/proc/{vm['pid']}/cmdline").read_bytes().decode().split("\0")[:-1]
        machine = client.paths.vms / vm["vm"]["id"]
        sockets = client.paths.sockets / vm["vm"]["id"][:8]
        self._argv = [_rewrite(word, machine, sockets, directory, self._port) for word in argv]
        self._argv[self._argv.index("-uuid") + 1] = str(uuid.uuid4())
        self._argv[self._argv.index("-name") + 1] = "guest=banger-bench-baseline"
        shutil.copy(machine / "initrd", directory / "initrd")
        client.call("vm.stop", {"vm": vm["vm"]["id"]})
        self._process: subprocess.Popen[bytes] | None = None
        self._kept = [directory / f"kept-{name}" for name in _DISKS if (machine / name).exists()]
        for kept in self._kept:
            _copy_sparse(machine / kept.name.removeprefix("kept-"), kept)

    @contextmanager
    def booted(self) -> Iterator[float]:
        """Boot a machine, wait for its first ssh command, and give the seconds until then; it is ended afterwards."""
        for kept in self._kept:
            _copy_sparse(kept, self._directory / kept.name.removeprefix("kept-"))
        log = self._directory / "qemu.log"
        began = time.monotonic()
        with open(log, "wb") as output:
            self._process = process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            while not self._answers():
                if process.poll() is not None:
                    raise VmmError(f"the bare qemu ended: {log.read_text(errors='replace')[-300:]}")
                if time.monotonic() - began > LIMIT:
                    raise VmmError(f"the bare qemu did not answer over ssh within {LIMIT:.0f} s")
            yield time.monotonic() - began
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def twin(self) -> Iterator[Baseline]:
        """Give another machine like this one, to be booted beside it."""
        with tempfile.TemporaryDirectory(prefix="banger-bench-") as name:
            port = _free_port()
            forwarded, directory = f":{self._port}-:22", os.fspath(self._directory)
            argv = [word.replace(directory, name).replace(forwarded, f":{port}-:22") for word in self._argv]
            argv[argv.index("-uuid") + 1] = str(uuid.uuid4())
            shutil.copy(self._directory / "initrd", name)
            twin = copy.copy(self)
            vars(twin).update(_directory=Path(name), _port=port, _argv=argv)
            yield twin

    def boot_once(self) -> float:
        """Return the seconds from a process's start to its first ssh command's end."""
        with self.booted() as seconds:
            return seconds

    def kill(self) -> None:
        """End the machine that boots; whoever waits for it gets an error."""
        if self._process is not None:
            self._process.kill()

    def settle(self) -> None:
        """Wait until the booted machine's services have started: only then its commands take what they take."""
        run_timed([*self._ssh()[:-1], "systemctl is-system-running --wait >/dev/null 2>&1 || true"])

    def ssh(self) -> float:
        """Return the seconds of one ``ssh … true``."""
        return run_timed(self._ssh())

    def ssh_to(self, address: str, port: int) -> float:
        """Return the seconds of one ``ssh … true`` with another machine that has the same keys."""
        return run_timed(self._ssh(f"root@{address}", port))

    def scp_in(self, file: Path) -> float:
        """Return the seconds that scp takes for a file into the machine."""
        return run_timed(
            ["scp", "-P", str(self._port), *self._options(), os.fspath(file), f"{_ROOT}:/root/copied"]
        )

    def scp_out(self, file: Path) -> float:
        """Return the seconds that scp takes for the same file out of it."""
        return run_timed(
            ["scp", "-P", str(self._port), *self._options(), f"{_ROOT}:/root/copied", os.fspath(file)]
        )

    def _ssh(self, login: str = _ROOT, port: int | None = None) -> list[str]:
        return ["ssh", "-p", str(port or self._port), *self._options(), login, "true"]

    def _options(self) -> list[str]:
        options = (
            "StrictHostKeyChecking=no",
            f"UserKnownHostsFile={os.devnull}",
            "BatchMode=yes",
            "LogLevel=ERROR",
        )
        argv = ["-F", "none", "-i", os.fspath(self._key)]
        return [*argv, *(word for option in options for word in ("-o", option))]

    def _answers(self) -> bool:
        """Wait for the server's greeting before ssh is asked: ssh itself would hang on a guest that is not up yet.

        Patiently: under software emulation a server that is asked too often is busy with nothing else.
        """
        try:
            with socket.create_connection(("127.0.0.1", self._port), 1) as connection:
                connection.settimeout(5)
                greeted = connection.recv(4) == b"SSH-"
        except OSError:
            greeted = False
        if not greeted:
            time.sleep(0.1)
            return False
        return subprocess.run(self._ssh(), capture_output=True, timeout=LIMIT, check=False).returncode == 0


def _rewrite(word: str, machine: Path, sockets: Path, directory: Path, port: int) -> str:
    word = word.replace(os.fspath(machine), os.fspath(directory)).replace(
        os.fspath(sockets), os.fspath(directory)
    )
    if word.startswith("user,id="):
        kept = [part for part in word.split(",") if not part.startswith(("hostfwd=", "restrict="))]
        word = ",".join([*kept, "restrict=on", f"hostfwd=tcp:127.0.0.1:{port}-:22"])
    return word


def _copy_sparse(source: Path, target: Path) -> None:
    run_timed(["cp", "--sparse=always", os.fspath(source), os.fspath(target)])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def make_baseline(client: Client, vm_id: str) -> Iterator[Baseline]:
    """Prepare a running VM for ssh through its agent and give the baseline made of it; the VM is stopped by that."""
    for program in ("ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            raise HostError(f"{program} is not installed", hint="sudo apt install openssh-client")
    with tempfile.TemporaryDirectory(prefix="banger-bench-") as name:
        directory = Path(name)
        key = directory / "key"
        run_timed(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.fspath(key)])
        public = key.with_suffix(".pub").read_text().strip()
        script = (
            f"umask 077; mkdir -p /root/.ssh && echo '{public}' >>/root/.ssh/authorized_keys; "
            "test -f /etc/ssh/ssh_host_ed25519_key || "
            "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key </dev/null; "
            "test -s /etc/ssh/ssh_host_ed25519_key && sync"  # its own service may have made it meanwhile
        )
        from banger.cli.vm_exec import run_in_vm

        if run_in_vm(client, vm_id, ("sh", "-c", script), env={}, terminal=False) != 0:
            raise HostError("the guest could not be prepared for ssh", hint="the image needs openssh-server")
        yield Baseline(client, client.call("vm.show", {"vm": vm_id}), directory)
