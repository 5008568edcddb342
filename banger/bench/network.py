"""The root helper's work, in a network namespace made for it: a tap of the pool, a VM's whole network, its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from banger.bench.measure import Figure, Target, interleave, run_timed
from banger.errors import HostError
from banger.helper.links import keep_links
from banger.helper.operations import carry_out
from banger.helper.requests import (
    AllowNat,
    ClaimTap,
    CreateTap,
    DenyNat,
    EnsureBridge,
    RemoveBridge,
    RemoveTap,
    Request,
    ShowStatus,
)
from banger.host.privileged import HostPrivileged

_OURS = ("br-banger", "0123abcd")
_TAP, _POOLED, _GUEST = "bgr-00000001", "bgrp-00000001", "172.16.176.2"
_ENSURE = EnsureBridge(*_OURS, "172.16.176.1", 20)
#: Seconds that a helper gets to listen.
_START_SECONDS = 20.0
#: The same for one VM, as one would type it.
_BY_HAND = (
    "ip link add br0 type bridge",
    "ip addr add 172.17.176.1/20 dev br0",
    "ip link set br0 up",
    "ip tuntap add tap0 mode tap user 0",
    "ip link set tap0 master br0 up",
    "iptables -t nat -A POSTROUTING -s 172.17.176.2 ! -o br0 -j MASQUERADE",
    "iptables -A FORWARD -i br0 -s 172.17.176.2 -j ACCEPT",
    "iptables -A FORWARD -o br0 -d 172.17.176.2 -m state --state RELATED,ESTABLISHED -j ACCEPT",
    "sysctl -q -w net.ipv4.ip_forward=1",
)
_BY_HAND_UNDO = (
    "ip link del tap0",
    "ip link del br0",
    "nft delete table ip nat",
    "nft delete table ip filter",
)


def measure_network(runs: int) -> list[Target]:
    """Measure in a namespace of its own, so that nothing of the host's network is touched.

    :raises HostError: not root, or a program is missing.
    """
    if os.geteuid() != 0:
        raise HostError("links are root's to make", hint='sudo "$(command -v banger)" bench network')
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-P", "-m", "banger.bench.network", str(runs)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it printed nothing"]
        raise HostError(f"the measurement failed: {lines[-1]}", hint="it needs iproute2, iptables and nft")
    found = {name: Figure(name, unit, tuple(values)) for name, unit, values in json.loads(done.stdout)}
    return [
        Target(found["tap of the pool"], found["tap made"], 0.2),
        Target(found["a VM's network"], found["by ip and iptables"], 0.3),
        Target(found["tap of the pool, asked for"], found["tap made, asked for"], 0.2),
        Target(found["a VM's network, asked for"], found["by ip and iptables"], 0.3),
        Target(found["helper at rest"], None, 30),
        Target(found["helper after its first link"], None, 45),
    ]


def _measure(runs: int) -> list[tuple[str, str, tuple[float, ...]]]:
    with tempfile.TemporaryDirectory() as folder, _helper(Path(folder)) as (call, process):
        call(ShowStatus())
        rest = _resident_mib(process.pid)
        call(_ENSURE)
        used = _resident_mib(process.pid)
        keep_links()  # as the helper does
        measures = {
            "tap of the pool": lambda: _claim(_carry_out),
            "tap made": lambda: _create(_carry_out),
            "a VM's network": lambda: _whole(_carry_out),
            "tap of the pool, asked for": lambda: _claim(call),
            "tap made, asked for": lambda: _create(call),
            "a VM's network, asked for": lambda: _whole(call),
            "by ip and iptables": _by_hand,
        }
        for measure in measures.values():  # the first of each reads programs from the disk
            measure()
        figures = interleave(runs, measures)
    told = [(name, "s", figure.values) for name, figure in figures.items()]
    return [*told, ("helper at rest", "MiB", (rest,)), ("helper after its first link", "MiB", (used,))]


Call = Callable[[Request], object]


def _carry_out(request: Request) -> object:
    return carry_out(request, 0)


def _claim(call: Call) -> float:
    call(_ENSURE)
    call(CreateTap(*_OURS, _POOLED, isolated=False))
    took = _timed(lambda: call(ClaimTap(*_OURS, _TAP, _POOLED)))
    call(RemoveTap(*_OURS, _TAP))
    return took


def _create(call: Call) -> float:
    call(_ENSURE)
    took = _timed(lambda: call(CreateTap(*_OURS, _TAP, isolated=False)))
    call(RemoveTap(*_OURS, _TAP))
    return took


def _whole(call: Call) -> float:
    call(RemoveBridge(*_OURS))

    def make() -> None:
        call(_ENSURE)
        call(CreateTap(*_OURS, _TAP, isolated=False))
        call(AllowNat(*_OURS, (_GUEST,), only=False))

    took = _timed(make)
    call(DenyNat(*_OURS, _GUEST))
    call(RemoveTap(*_OURS, _TAP))
    return took


def _by_hand() -> float:
    took = sum(run_timed(line.split()) for line in _BY_HAND)
    for line in _BY_HAND_UNDO:
        run_timed(line.split())
    return took


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


@contextmanager
def _helper(folder: Path) -> Iterator[tuple[Call, subprocess.Popen[bytes]]]:
    """Run a helper of root's and return the way to call it."""
    path = folder / "helper.sock"
    words = ["-P", "-m", "banger.helper", "--socket", str(path), "--owner", "0"]
    with subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not path.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise HostError("the root helper does not start", hint="python3 -m banger.helper --help")
                time.sleep(0.01)
            yield HostPrivileged(path).call, process
        finally:
            process.terminate()


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]))))
