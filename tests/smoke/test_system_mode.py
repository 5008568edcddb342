"""Scenarios of system mode: one installation, VMs of its owner's, and others who want something of it."""

from __future__ import annotations

import json
import re

import pytest

from tests.smoke.smokehost import ANSWERS, IN_FIRECRACKER, Host

pytestmark = [pytest.mark.smoke, pytest.mark.usefixtures("installed")]
_SYSTEM = 'sudo "$(command -v banger)" system'


def process(host: Host) -> str:
    """Return the process of the VM."""
    pattern = "'^/firecracker --id'" if IN_FIRECRACKER else "'[q]emu-system.*banger-one'"
    return host.ok(f"pgrep --full {pattern}", user="root")


def test_status_and_doctor(host: Host) -> None:
    """Both services run, for alice, out of a tree that is root's alone."""
    found = json.loads(host.ok("banger system status --json"))
    assert found["ok"] and found["install"]["owner"] == "alice"
    assert [unit["state"] for unit in found["units"]] == ["active", "active"]
    shown = json.loads(host("banger doctor --json").out)
    checks = {check["name"]: check["status"] for check in shown["checks"]}
    assert (checks["code of the services"], checks["services"]) == ("PASS", "PASS")
    limits = host.ok("cat /proc/$(systemctl show --value --property MainPID bangerd)/status", user="root")
    assert re.search(r"^CapEff:\t0+$", limits, re.MULTILINE) and re.search(
        r"^Seccomp:\t2$", limits, re.MULTILINE
    )
    assert re.search(r"^Uid:\t1000\t1000\t1000\t1000$", limits, re.MULTILINE)


def test_code_is_roots_alone(host: Host) -> None:
    """The owner, whose own environment it was copied from, can change nothing of what root runs."""
    host.ok("test -w ~/venv/lib/python3.11/site-packages/banger/__init__.py")
    writable = host.ok(
        "find /usr/local/lib/banger /etc/systemd/system/bangerd* /etc/banger ! -type l -writable"
    )
    assert writable == ""
    host.ok("chmod g+w,o+w /usr/local/lib/banger/helper", user="root")
    shown = json.loads(host("banger doctor --json").out)
    assert {"code of the services": "FAIL"}.items() <= {
        c["name"]: c["status"] for c in shown["checks"]
    }.items()
    refused = host(f"{_SYSTEM} restart")
    assert refused.status == 1 and "can be written by everybody" in refused.err
    host.ok("chmod go-w /usr/local/lib/banger/helper", user="root")


def test_exit_codes(host: Host) -> None:
    """A command's status is the client's; refusals have their own."""
    done = host("banger vm run --rm -- sh -c 'echo out; echo err >&2; exit 7'")
    assert (done.status, done.text) == (7, "out") and "err" in done.err
    assert host("banger vm show nobody").status == 1
    assert host("banger vm create --no-such-flag").status == 2


def test_invalid_names(host: Host) -> None:
    """Names that are none are refused before anything is made."""
    before = host.ok("banger vm list --quiet")
    for name in ("-a", "A_b", "a..b", "x" * 64):
        done = host(f"banger vm create --name='{name}'")
        assert done.status == 2 and len(done.err.splitlines()) <= 2, done.err
    assert host.ok("banger vm list --quiet") == before


def test_lifecycle(host: Host, one: str) -> None:
    """Stop keeps the disk, start finds it, restart boots anew."""
    host.ok("banger vm exec one -- sh -c 'echo kept > /root/kept; sync'")
    first = host.ok("banger vm exec one -- cat /proc/sys/kernel/random/boot_id")
    host.ok("banger vm stop one")
    assert host.shown("one")["state"] == "stopped"
    host.have_vm("one")
    assert host.ok("banger vm exec one -- cat /root/kept") == "kept"
    assert host.ok("banger vm exec one -- cat /proc/sys/kernel/random/boot_id") != first


def test_kill(host: Host, one: str) -> None:
    """A VM that is killed is stopped, not in error, and can be pruned."""
    host.ok("banger vm kill one")
    assert host.shown("one")["state"] == "stopped"
    host.have_vm("one")
    pid = process(host)
    host.ok(f"kill -KILL {pid}", user="root")
    host.ok("banger vm wait one --for stopped")
    host.have_vm("one")


def test_prune(host: Host, one: str) -> None:
    """What is stopped goes, at once and whole."""
    before = host.ok("banger vm list --quiet")
    host.have_vm("two")
    host.ok("banger vm kill two && banger vm prune --force")
    assert host.ok("banger vm list --quiet") == before


def test_daemon_restart_with_a_vm_alive(host: Host, one: str) -> None:
    """Whether it is told to or killed, the daemon comes back and has its VMs."""
    before = process(host)
    host.ok(f"{_SYSTEM} restart")
    assert host.ok("banger vm exec one -- echo alive") == "alive"
    pid = host.ok("systemctl show --value --property MainPID bangerd", user="root")
    host.ok(f"kill -KILL {pid}", user="root")
    host.ok(ANSWERS)
    assert host.ok("banger vm exec one -- echo alive") == "alive"
    assert process(host) == before


def test_helper_restart_with_a_vm_alive(host: Host, one: str) -> None:
    """The helper's end is nothing to a VM."""
    before = process(host)
    host.ok("systemctl restart bangerd-root", user="root")
    assert host.ok("banger vm exec one -- echo alive") == "alive"
    assert process(host) == before


def test_update_with_a_vm_alive(host: Host, one: str) -> None:
    """Installing again replaces what runs, and no VM notices."""
    before = process(host)
    host.ok(f"{_SYSTEM} install --owner alice")
    assert host.ok("banger vm exec one -- echo alive") == "alive"
    assert process(host) == before
    refused = host(f"{_SYSTEM} uninstall")
    assert refused.status == 1 and "VMs run, 1 of them" in refused.err


def test_others_are_refused(host: Host) -> None:
    """Another user has neither the daemon nor the helper, and keeps a banger of his own."""
    done = host("BANGER_SOCKET=/run/banger/bangerd.sock banger vm list", user="bob")
    assert done.status == 1 and "no permission" in done.err
    connect = "import socket; socket.socket(socket.AF_UNIX).connect('/run/bangerd-root/helper.sock')"
    assert "PermissionError" in host(f'python3 -c "{connect}"', user="bob").err
    refused = host("banger system restart", user="bob")
    assert refused.status == 1 and "only root" in refused.err
    host.ok("banger daemon stop", user="bob")


def test_a_build_of_an_image_has_what_it_needs(host: Host) -> None:
    """Within the daemon's own bounds: a user namespace with sub-ids, a /proc, a set-uid program, a chroot."""
    script = (
        "id -u; cp /bin/true /var/lib/banger/x; chown 5:5 /var/lib/banger/x; chmod 4755 /var/lib/banger/x; "
    )
    script += "stat -c %a:%u /var/lib/banger/x; rm /var/lib/banger/x; chroot / true && echo chrooted"
    host.ok(f"printf '%s\\n' '{script}' > /opt/probe.sh", user="root")
    unshare = "unshare --user --map-auto --map-root-user --pid --fork --mount --mount-proc --ipc --uts sh /opt/probe.sh"
    unit = "/run/systemd/system/probe.service"
    edit = rf"s,^ *\S*/python3 -I -m banger.daemon.main,    {unshare},; "
    edit += "s/^Restart=.*/Type=oneshot/; /^Type=exec/d"
    host.ok(
        f"sed '{edit}' /etc/systemd/system/bangerd.service > {unit} && systemctl daemon-reload", user="root"
    )
    try:
        done = host("systemctl start probe; journalctl --unit probe --output cat --no-pager", user="root")
        assert {"0", "4755:5", "chrooted"} <= set(done.text.splitlines()), done.text
    finally:
        host.ok(f"rm {unit} /opt/probe.sh; systemctl daemon-reload", user="root")
