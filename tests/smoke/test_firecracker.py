"""Scenarios of Firecracker and of root disks by the device-mapper: root's own banger, under the host's KVM."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.smoke.smokehost import NAME, Host

pytestmark = pytest.mark.smoke
#: Root's banger, which is allowed bridges and devices in its own process, with the images that the host was given.
_BANGER = "PYTHONPATH=/opt/banger:/opt/site python3 -m banger"
_READY = (
    "mkdir -p .local/state/banger .config/banger && chmod 700 .local/state/banger && "
    "cp -a /opt/seed/images /opt/seed/kernels .local/state/banger && chown -R root: .local/state/banger && "
    "cp -a /opt/seed/banger.db .local/state/banger && "
    """printf '[defaults]\\nmemory = "256M"\\nvcpu = 1\\nkernel = "debian-bookworm"\\n' > .config/banger/config.toml"""
)


@pytest.fixture(scope="module")
def firecracker(smoke: Host) -> Iterator[None]:
    """The program on the host; a clear word where there is none."""
    found = os.environ.get("BANGER_FIRECRACKER") or shutil.which("firecracker")
    if found is None:
        pytest.skip("no firecracker on PATH, and none that BANGER_FIRECRACKER names")
    smoke.home.ok("vm", "cp", str(Path(found).resolve()), f"{NAME}:/usr/local/bin/firecracker")
    smoke.ok(f"chmod 755 /usr/local/bin/firecracker && cd && {_READY}", user="root")
    yield
    smoke.ok(f"{_BANGER} purge --yes; rm -rf ~/.config/banger /usr/local/bin/firecracker", user="root")


@pytest.fixture
def vm(host: Host, firecracker: None) -> Iterator[str]:
    """A VM in Firecracker, gone afterwards with all that it held."""
    line = "vm create --name fire --vmm firecracker --net bridge --wait agent"
    host.ok(f"{_BANGER} {line}", user="root")
    yield "fire"
    host.ok(f"{_BANGER} vm delete --force fire", user="root")
    assert held(host) == ""
    host.ok(f"{_BANGER} bridge remove && {_BANGER} daemon stop", user="root")


def held(host: Host) -> str:
    """What a VM's root disk holds of the host."""
    return host.ok("dmsetup ls | grep banger || true; losetup --all", user="root")


def test_firecracker_lifecycle(host: Host, vm: str) -> None:
    """A VM in Firecracker runs commands, stands still and goes on, stops, and finds its disks again."""
    assert host(f"{_BANGER} vm exec fire -- sh -c 'exit 7'", user="root").status == 7
    shown = json.loads(host.ok(f"{_BANGER} vm show fire --json", user="root"))
    assert (shown["root_disk"], shown["accelerator"]) == ("snapshot", "kvm")
    host.ok(f"{_BANGER} vm exec fire -- sh -c 'echo kept | tee /etc/kept /root/kept; sync'", user="root")
    host.ok(f"{_BANGER} vm pause fire && {_BANGER} vm resume fire", user="root")
    host.ok(f"{_BANGER} vm stop fire", user="root")
    assert held(host) == ""
    host.ok(f"{_BANGER} vm start fire --wait agent", user="root")
    assert host.ok(f"{_BANGER} vm exec fire -- cat /etc/kept /root/kept", user="root") == "kept\nkept"


def test_firecracker_survives_the_daemon(host: Host, vm: str) -> None:
    """A daemon that is killed finds its VM again, with its device."""
    before = held(host)
    assert len(re.findall("banger-", before)) == 2
    host.ok("pkill -KILL --uid root --full 'banger[.]daemon[.]main'", user="root")
    host.ok(f"timeout 300 sh -c 'until {_BANGER} vm list > /dev/null 2>&1; do sleep 1; done'", user="root")
    assert host.ok(f"{_BANGER} vm exec fire -- echo alive", user="root") == "alive"
    assert held(host) == before
    host.ok(f"{_BANGER} vm kill fire", user="root")
    assert held(host) == ""


def test_device_mapper_cleanup(host: Host, vm: str) -> None:
    """A VM whose record of what it held is lost takes its device along all the same."""
    host.ok("pkill -KILL firecracker; rm ~/.local/state/banger/vms/*/handles.json", user="root")
    host.ok(f"{_BANGER} vm delete --force fire", user="root")
    assert held(host) == ""
    host.ok(f"{_BANGER} vm create --name fire --vmm firecracker --net bridge --wait agent", user="root")
