"""Repositories into VMs and changes out of them, against rsync and git over ssh with the same VM."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from banger.bench.figures import program
from banger.bench.measure import Figure, Target, run_timed
from banger.bench.repository import BYTES, COMMITS, FILES, change_files, make_repository
from banger.cli.client import Client
from banger.cli.output import say
from banger.errors import HostError, NotFoundError

#: Seconds that one transfer gets.
_LIMIT = 3600.0
#: Files changed on the host before a second prepare, and in the guest before an export.
_FEW, _MANY = 10, 1000
#: Files of the repository that memory is compared with.
_SMALL = 10
#: Where the guest has rsync: the host's own with its libraries, because few images have one.
_RSYNC = "/root/.bench"
_OPTIONS = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR")


def measure_workspace(client: Client, scale: float) -> list[Target]:
    """Measure all of it once, in one VM and in new ones.

    :param scale: part of the repository's files, bytes and commits.
    """
    for name in ("ssh", "ssh-keygen", "git", "rsync"):
        if shutil.which(name) is None:
            raise HostError(f"{name} is not installed", hint="sudo apt install openssh-client git rsync")
    with tempfile.TemporaryDirectory(prefix="banger-bench-") as folder:
        say("preparing: a repository, and a VM with ssh")
        sizes = (max(_MANY, round(FILES * scale)), round(BYTES * scale), max(2, round(COMMITS * scale)))
        large = make_repository(Path(folder, "large"), *sizes)
        small = make_repository(Path(folder, "small"), _SMALL, 1000 * _SMALL, 2)
        with _open_rival(client, Path(folder)) as rival:
            say("measuring; a transfer takes minutes under software emulation")
            return _measure(rival, large, small)


def _measure(rival: Rival, large: Path, small: Path) -> list[Target]:
    banger = (*program(), "vm")
    copy, clone = rival.rsync(large), rival.push(large)
    faster = min(copy, clone, key=lambda figure: figure.median)
    into, peak = _watched([*banger, "workspace", "prepare", rival.name, os.fspath(large)])
    first = Figure("vm workspace prepare", "s", (into,))
    change_files(large, range(0, _FEW * 100, 100))
    again = _timed("the same after ten changed files", [*banger, "workspace", "prepare", rival.name])
    export = _measure_export(rival, large)
    _, low = _watched(
        [*banger, "workspace", "prepare", rival.name, os.fspath(small), "--guest-path", "/root/s"]
    )
    plain = run_timed([*banger, "run", "--rm", "--", "true"], limit=_LIMIT)
    made = run_timed([*banger, "run", "--rm", os.fspath(large), "--", "true"], limit=_LIMIT)
    return [
        Target(Figure("vm run PATH beyond vm run", "s", (max(0.0, made - plain),)), faster, 0.15),
        Target(first, faster, 0.5),
        Target(again, first, 0.05),
        export,
        Target(Figure("peak memory of prepare", "MiB", (peak,)), Figure("of ten files", "MiB", (low,)), 1.25),
        Target(copy, clone, 100),
    ]


def _measure_export(rival: Rival, large: Path) -> Target:
    names = f"git ls-files | head -n {_MANY}"
    rival.run(f"cd /root/repo && for f in $({names}); do echo changed >>$f; done")
    said = rival.run(
        "cd /root/repo && b=$(date +%s%N) && git diff HEAD >/dev/null && e=$(date +%s%N) && echo $((e - b))"
    )
    base = Figure("git diff in the guest", "s", (int(said) / 1e9,))
    words = [*program(), "vm", "workspace", "export", rival.name, "--output", f"{large}.patch"]
    return Target(_timed(f"vm workspace export of {_MANY} files", words), base, 1.5)


def _timed(name: str, words: list[str]) -> Figure:
    return Figure(name, "s", (run_timed(words, limit=_LIMIT),))


def _watched(words: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds, and MiB that its first process had at most, git's own left out."""
    began, peak = time.monotonic(), 0
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            for line in status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]))
            time.sleep(0.02)
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace").strip().splitlines()
    if process.returncode != 0:
        raise HostError(f"{' '.join(words)} failed: {said[-1:]}", hint="try it by hand")
    return time.monotonic() - began, peak / 1024


class Rival:
    """A VM that is reached over ssh."""

    def __init__(self, client: Client, detail: dict[str, Any], key: Path) -> None:
        self._client, self._id, self.name = client, detail["vm"]["id"], detail["vm"]["name"]
        self._port, self._key = detail["ports"][0], key

    def rsync(self, source: Path) -> Figure:
        """Copy a repository with rsync; what arrived is removed."""
        there = f"{_RSYNC}/ld.so --library-path {_RSYNC} {_RSYNC}/rsync"
        words = [
            "rsync",
            "-a",
            "-e",
            self._ssh(),
            f"--rsync-path={there}",
            f"{source}/",
            f"{self._login()}:/root/copy/",
        ]
        return self._measured("rsync -a over ssh", words, "copy")

    def push(self, source: Path) -> Figure:
        """Transfer a repository and check it out as a clone does, from this side: the guest reaches no server."""
        self.run(
            "git init -q -b main /root/clone && git -C /root/clone config receive.denyCurrentBranch updateInstead"
        )
        words = ["env", f"GIT_SSH_COMMAND={self._ssh()}", "git", "-C", os.fspath(source)]
        return self._measured(
            "git clone over ssh (as a push)",
            [*words, "push", "-q", f"ssh://{self._login()}:{self._port['host']}/root/clone", "main"],
            "clone",
        )

    def _measured(self, name: str, words: list[str], folder: str) -> Figure:
        figure = _timed(name, words)
        self.run(f"rm -rf /root/{folder}; sync")
        return figure

    def run(self, script: str) -> str:
        """Run a script in the guest; return what it printed."""
        from banger.cli.pipe import run_piped

        ended = run_piped(self._client, self._id, ("/bin/sh", "-c", script))
        if ended.status != 0:
            raise HostError(
                f"the guest could not be prepared: {ended.said}", hint="the image needs git and sshd"
            )
        return ended.stdout.decode().strip()

    def install_rsync(self, folder: Path) -> None:
        """Give the guest this host's rsync."""
        place = folder / "rsync"
        place.mkdir()
        program = shutil.which("rsync") or "rsync"
        shutil.copy(program, place / "rsync")
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for path in (word for word in listed.split() if word.startswith("/")):
            name = "ld.so" if "/ld-" in path else Path(path).name
            shutil.copy(path, place / name)
        run_timed([*_cp(), os.fspath(place), f"{self.name}:{_RSYNC}"])

    def _login(self) -> str:
        return f"root@{self._port['address']}"

    def _ssh(self) -> str:
        options = [word for option in _OPTIONS for word in ("-o", option)]
        return shlex.join(
            ["ssh", "-F", "none", "-i", os.fspath(self._key), "-p", str(self._port["host"]), *options]
        )


def _cp() -> tuple[str, ...]:
    return (*program(), "vm", "cp")


@contextmanager
def _open_rival(client: Client, folder: Path) -> Iterator[Rival]:
    name = f"bench-{uuid.uuid4().hex[:8]}"
    wanted = {"name": name, "wait": "agent", "publish": ["22"], "memory": "1G"}
    try:
        detail = client.call("vm.create", wanted, on_event=lambda _: None)
        key = folder / "key"
        run_timed(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.fspath(key)])
        rival = Rival(client, detail, key)
        public = key.with_suffix(".pub").read_text().strip()
        rival.run(
            f"umask 077; mkdir -p /root/.ssh && echo '{public}' >>/root/.ssh/authorized_keys; "
            "test -f /etc/ssh/ssh_host_ed25519_key || "
            "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; "
            'n=0; until s=$(systemctl is-system-running) || [ "$s" = degraded ] || [ $n = 300 ]; '
            "do n=$((n + 1)); sleep 1; done; systemctl restart ssh 2>/dev/null || systemctl restart sshd"
        )
        rival.install_rsync(folder)
        yield rival
    finally:
        with suppress(NotFoundError):
            client.call("vm.delete", {"vm": name})
