"""Scenarios of Firecracker in its jail, with root disks by the device-mapper: system mode, under the host's KVM."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.smoke.smokehost import ANSWERS, IN_FIRECRACKER, TRIES, Host, has_firecracker

pytestmark = [pytest.mark.smoke, pytest.mark.usefixtures("installed")]
#: Nothing says in what: Firecracker is what a VM on the bridge gets where it is there.
_CREATE = "banger vm create --name fire --wait agent"
#: Of what ``seq 200000`` prints.
_SEQUENCE = "0e10426a1d5bddffcef02f1345787128"
_START = "banger vm start fire --wait agent"
_JAILS = "/var/lib/bangerd-root"


@pytest.fixture(scope="module")
def firecracker(smoke: Host, installed: None) -> Iterator[None]:
    """Both programs, on the host; a clear word where there are none."""
    if not has_firecracker():
        pytest.skip("no firecracker with its jailer on PATH, and none that BANGER_FIRECRACKER names")
    smoke.put_firecracker()
    yield
    if not IN_FIRECRACKER:
        smoke.remove_firecracker()


@pytest.fixture
def vm(host: Host, firecracker: None) -> Iterator[str]:
    """A VM in Firecracker, gone afterwards with all that it held."""
    start(host, _CREATE)
    yield "fire"
    host.ok("banger vm delete --force fire")
    assert held(host) == ""


def start(host: Host, line: str = _START) -> None:
    """Have the VM run; emulated twice it may need several tries on a busy machine."""
    done = host(line)
    for _ in range(TRIES):
        if done.status == 0:
            return
        done = host(_START)
    raise AssertionError(f"'fire' does not run: {done.err}")


def held(host: Host) -> str:
    """What a VM's jail and its root disk hold of the host."""
    # Not by its path: that is as the helper saw it which attached the file.
    devices = "dmsetup ls | grep banger || true; losetup --list --noheadings --output NAME,BACK-INO"
    groups = "find /sys/fs/cgroup/system.slice/bangerd-root.service -mindepth 1 -type d"
    return host.ok(f"{devices}; {groups}; find {_JAILS} -mindepth 1 -maxdepth 2", user="root")


def jailed(host: Host) -> str:
    """Return Firecracker's process, as the host has it."""
    return host.ok("pgrep --exact firecracker")


def test_firecracker_lifecycle(host: Host, vm: str) -> None:
    """A VM in Firecracker runs commands, stands still and goes on, stops, and finds its disks again."""
    assert host("banger vm exec fire -- sh -c 'exit 7'").status == 7
    shown = json.loads(host.ok("banger vm show fire --json"))
    assert (shown["root_disk"], shown["accelerator"]) == ("snapshot", "kvm")
    host.ok("banger vm exec fire -- sh -c 'echo kept | tee /etc/kept /root/kept; sync'")
    host.ok("banger vm pause fire && banger vm resume fire")
    host.ok("banger vm stop fire")
    assert held(host) == ""
    start(host)
    assert host.ok("banger vm exec fire -- cat /etc/kept /root/kept") == "kept\nkept"


def test_firecracker_commit(host: Host, vm: str) -> None:
    """The snapshot that is a root disk becomes an image, by what the kernel wrote of it."""
    host.ok("banger vm exec fire -- sh -c 'seq 200000 | tee /etc/kept > /dev/null; rm /etc/motd; sync'")
    host.ok("banger vm stop fire && banger image commit fire ready")
    try:
        host.ok("banger vm create --name ready --image ready --wait agent")
        assert host.ok("banger vm exec ready -- md5sum /etc/kept").split()[0] == _SEQUENCE
        assert host("banger vm exec ready -- test -e /etc/motd").status == 1
    finally:
        host.ok("banger vm delete --force ready; banger image delete ready")


def test_firecracker_in_its_jail(host: Host, vm: str) -> None:
    """It runs as the owner, in a root directory and a control group of its own, and sees nothing else of the host."""
    assert json.loads(host.ok("banger vm show fire --json"))["machine"] == "mmio (jail)"
    checks = {check["name"]: check for check in json.loads(host("banger doctor --json").out)["checks"]}
    assert checks["firecracker-jail"]["status"] == "PASS", checks["firecracker-jail"]
    pid = jailed(host)
    status = host.ok(f"cat /proc/{pid}/status", user="root")
    assert "\nUid:\t1000\t1000\t1000\t1000\n" in status and "\nCapEff:\t0000000000000000\n" in status
    seen = host.ok(f"cd /proc/{pid}/root && find . -xdev -type f -printf '%P\\n'", user="root").splitlines()
    assert "firecracker" in seen and not [name for name in seen if name.startswith(("etc/", "usr/"))]
    group = host.ok(f"cat /proc/{pid}/cgroup", user="root")
    assert group.startswith("0::/system.slice/bangerd-root.service/")
    refused = host(f"ls {_JAILS}")
    assert refused.status != 0 and "Permission denied" in refused.err


def test_firecracker_survives_the_services(host: Host, vm: str) -> None:
    """A daemon that is killed finds its VM again, with device and jail; so does a helper that is started again."""
    before, pid = held(host), jailed(host)
    assert before.count("/dev/loop") == 2
    main = "systemctl show --value --property MainPID bangerd"
    host.ok(f"kill -KILL $({main}); systemctl restart bangerd-root", user="root")
    host.ok(ANSWERS)
    assert host.ok("banger vm exec fire -- echo alive") == "alive"
    assert (held(host), jailed(host)) == (before, pid)
    host.ok("banger vm kill fire")
    assert held(host) == ""


def test_device_mapper_cleanup(host: Host, vm: str) -> None:
    """A VM whose record of what it held is lost takes its device and its jail along all the same."""
    host.ok("pkill -KILL --exact firecracker; rm /var/lib/banger/vms/*/handles.json", user="root")
    host.ok("banger vm delete --force fire")
    assert held(host) == ""
    start(host, _CREATE)


def test_firecracker_that_others_can_change(host: Host, firecracker: None) -> None:
    """Programs that anybody but root can change are not run as root, and the start that wanted it leaves nothing."""
    host.ok("chmod o+w /usr/local/bin/jailer", user="root")
    refused = host(f"{_CREATE} --vmm firecracker")
    assert refused.status == 1 and "jailer can be changed by others than root" in refused.err
    host.ok("chmod o-w /usr/local/bin/jailer", user="root")
    host("banger vm delete --force fire")
    assert held(host) == ""
