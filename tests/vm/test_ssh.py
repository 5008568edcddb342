"""``vm ssh``, and OpenSSH's own programs through the ssh_config that banger writes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from vmring import Home

#: Its tests leave the home and the VM as they found them: see conftest.
IN_COMMONS = True

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="openssh-client is not installed")


def _config(banger: Home) -> str:
    return str(banger.state / "ssh" / "config")


def _run(banger: Home, *argv: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv, env=banger.env, cwd=banger.base, input=input, capture_output=True, timeout=120
    )


def test_a_command_over_ssh_its_streams_and_its_status(banger: Home, vm: str) -> None:
    result = banger("vm", "ssh", vm, "--", "cat; echo err >&2; exit 42", input=b"in\0\xff")
    assert (result.status, result.out) == (42, b"in\0\xff")
    assert result.err == "err\n"
    assert banger.ok("vm", "ssh", vm, "hostname").text == vm
    assert not (banger.base / ".ssh").exists()


def test_keys_are_private_and_the_guests_is_in_memory_only(banger: Home, vm: str) -> None:
    banger.ok("vm", "ssh", vm, "true")
    for key in (banger.state / "ssh/id_ed25519", *banger.state.glob("vms/*/ssh/host_key")):
        assert key.stat().st_mode & 0o777 == 0o600
    assert banger.sh(vm, "stat -c '%a %U' /run/banger/ssh/host_key") == "600 root"
    assert banger.sh(vm, "stat -f -c %T /run/banger/ssh/host_key") == "tmpfs"
    public = next(banger.state.glob("vms/*/ssh/host_key.pub")).read_text().split()[1]
    assert banger.exec(vm, "grep", "-rqF", public, "/etc/ssh", "/root").status == 1


def test_the_guests_files_are_written_once_and_again_when_needed(banger: Home, vm: str) -> None:
    look = "stat -c '%n %i' /run/banger/ssh/*"
    banger.ok("vm", "ssh", vm, "true")
    before = banger.sh(vm, look)
    banger.ok("vm", "ssh", vm, "true")
    assert banger.sh(vm, look) == before
    banger.sh(vm, "rm /run/banger/ssh/host_key")
    banger.ok("vm", "ssh", vm, "true")
    for half in ("id_ed25519", "id_ed25519.pub"):
        (banger.state / "ssh" / half).unlink()
    banger.ok("vm", "ssh", vm, "true")
    public = (banger.state / "ssh/id_ed25519.pub").read_text().split()[1]
    assert public in banger.sh(vm, "cat /run/banger/ssh/authorized_keys")


def test_scp_both_ways(banger: Home, vm: str) -> None:
    banger.ok("vm", "ssh", vm, "true")
    data = os.urandom(1024 * 1024)
    (banger.base / "a b.bin").write_bytes(data)
    there = _run(banger, "scp", "-F", _config(banger), "a b.bin", f"{vm}.vm:/var/tmp/c d.bin")
    assert there.returncode == 0, there.stderr
    assert banger.sh(vm, "sha256sum < '/var/tmp/c d.bin'").split()[0] == hashlib.sha256(data).hexdigest()
    back = _run(banger, "scp", "-F", _config(banger), f"{vm}.vm:/var/tmp/c d.bin", "back.bin")
    assert back.returncode == 0, back.stderr
    assert (banger.base / "back.bin").read_bytes() == data


def test_ssh_by_name_through_the_users_config(banger: Home, vm: str) -> None:
    banger.ok("ssh-config", "--install")
    user_config = banger.base / ".ssh/config"
    try:
        done = subprocess.run(
            ["ssh", "-F", user_config, f"{vm}.vm", "hostname; exit 3"],
            env={"PATH": os.environ["PATH"]},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        )
        assert (done.returncode, done.stdout.decode().strip()) == (3, vm), done.stderr
    finally:
        banger.ok("ssh-config", "--uninstall")
    assert not (banger.base / ".ssh").exists(), "it made that directory, and nothing else came into it"


def test_rsync_both_ways(banger: Home, vm: str) -> None:
    banger.ok("vm", "ssh", vm, "true")  # makes the configuration
    source = banger.base / "tree one"
    source.mkdir()
    (source / "x y.bin").write_bytes(os.urandom(100_000))
    remote = f"ssh -F '{_config(banger)}'"
    if banger.exec(vm, "sh", "-c", "command -v rsync").status != 0:
        without = _run(banger, "rsync", "-a", "-e", remote, "tree one/", f"{vm}.vm:/var/tmp/tree")
        assert without.returncode != 0
        assert b"rsync: command not found" in without.stderr
        return
    there = _run(banger, "rsync", "-a", "-s", "-e", remote, "tree one/", f"{vm}.vm:/var/tmp/tree two/")
    assert there.returncode == 0, there.stderr
    back = _run(banger, "rsync", "-a", "-s", "-e", remote, f"{vm}.vm:/var/tmp/tree two/", "tree three/")
    assert back.returncode == 0, back.stderr
    assert (banger.base / "tree three/x y.bin").read_bytes() == (source / "x y.bin").read_bytes()


def test_forwarding_reaches_the_guest(banger: Home, vm: str) -> None:
    banger.ok("vm", "ssh", vm, "true")
    done = _run(banger, "ssh", "-F", _config(banger), "-W", "127.0.0.1:1", f"{vm}.vm")
    assert b"connect failed: Connection refused" in done.stderr, "the guest's kernel says that, not its sshd"


def test_another_host_key_is_refused(banger: Home, vm: str, tmp_path: Path) -> None:
    banger.ok("vm", "ssh", vm, "true")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    kind, key = (tmp_path / "other.pub").read_text().split()[:2]
    (tmp_path / "known_hosts").write_text(f"{vm}.vm {kind} {key}\n")
    result = _run(
        banger,
        "ssh",
        "-F",
        _config(banger),
        "-o",
        f"UserKnownHostsFile={tmp_path}/known_hosts",
        f"{vm}.vm",
        "true",
    )
    assert result.returncode == 255
    assert b"Host key verification failed" in result.stderr


def test_image_without_sshd_says_what_to_use(banger: Home, vm: str) -> None:
    banger.sh(vm, "mount --bind /dev/null /usr/sbin/sshd")
    try:
        result = banger("vm", "ssh", vm, "true")
    finally:
        banger.sh(vm, "umount /usr/sbin/sshd")
    assert result.status == 255
    assert "the image has no sshd" in result.err
    assert "banger vm exec" in result.err


def _bake_keys_into_the_image(home: Home, directory: Path) -> str:
    """Put host keys into the image's root, as images have them that were made from a machine; the public one's text."""
    (disk,) = home.state.glob("images/*/rootfs.ext4")
    copy = disk.with_name("copy.ext4")
    subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
    copy.chmod(0o600)
    copy.replace(disk)  # the original is shared with other homes
    key = directory / "ssh_host_ed25519_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "baked", "-f", key], check=True)
    names = ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub", "ssh_host_rsa_key")
    script = "cd /etc/ssh\n" + "".join(
        f"write {key}{'.pub' * name.endswith('.pub')} {name}\n" for name in names
    )
    program = shutil.which("debugfs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "debugfs"
    subprocess.run([program, "-w", "-f", "-", disk], input=script.encode(), check=True, capture_output=True)
    return key.with_name(key.name + ".pub").read_text().split()[1]


@pytest.mark.long
def test_host_keys_that_an_image_brings_are_no_vms(alone: Home, tmp_path: Path) -> None:
    baked = _bake_keys_into_the_image(alone, tmp_path)
    look = "cd /etc/ssh; echo ssh_host_*; cut -d' ' -f2 ssh_host_ed25519_key.pub; mkdir -p /run/sshd; sshd -t"
    alone.ok("vm", "create", "--name", "one", "--wait", "agent")
    names, own = alone.sh("one", look).splitlines()
    assert (names, own == baked) == ("ssh_host_ed25519_key ssh_host_ed25519_key.pub", False)
    alone.ok("vm", "kill", "one")
    alone.ok("vm", "start", "one", "--wait", "agent")
    assert alone.sh("one", look).splitlines() == [names, own], "a VM's own key outlives its first start"


@pytest.mark.long
def test_unknown_and_stopped_vms_are_refused_before_ssh_runs(alone: Home) -> None:
    result = alone("vm", "ssh", "nobody")
    assert result.status == 1
    assert "nobody" in result.err and "hint: " in result.err
    alone.ok("vm", "create", "--name", "still", "--wait", "agent")
    alone.ok("vm", "ssh", "still", "true")
    pinned = alone.state / "ssh/known_hosts"
    key = pinned.read_text()
    alone.ok("vm", "stop", "still")
    result = alone("vm", "ssh", "still")
    assert (result.status, "banger vm start still" in result.err) == (1, True)
    alone.ok("vm", "start", "still")
    alone.ok("vm", "ssh", "still", "true")
    assert pinned.read_text() == key, "the host key outlives stop and start"
    alone.ok("vm", "delete", "still")
    assert json.loads(alone.ok("vm", "list", "--json").out) == []
    assert "still.vm" not in pinned.read_text()


def test_a_login_is_tried_with_the_pinned_key_and_no_other(banger: Home, vm: str) -> None:
    assert banger.ok("vm", "wait", vm, "--for", "ssh").text == f"{vm} is running"
    assert banger.ok("vm", "health", vm, "--ssh", "--json").json["login"].startswith("SSH-2.0-OpenSSH")
    sh = "mv /run/banger/ssh/host_key /run/banger/ssh/kept && ssh-keygen -qt ed25519 -N '' -f /run/banger/ssh/host_key"
    banger.sh(vm, sh)
    try:
        impostor = banger("vm", "health", vm, "--ssh")
        assert impostor.status == 1
        assert f"{vm}.vm has another host key than the pinned one" in impostor.text
    finally:
        banger.sh(vm, "mv -f /run/banger/ssh/kept /run/banger/ssh/host_key")


def test_a_login_that_cannot_work_says_what_the_guest_said(banger: Home, vm: str) -> None:
    banger.sh(vm, "mv /usr/sbin/sshd /usr/sbin/sshd.away")
    try:
        refused = banger("vm", "health", vm, "--ssh")
        assert refused.status == 1
        assert "no login over ssh: banger: the image has no sshd" in refused.text
        assert banger("vm", "wait", vm, "--for", "ssh", "--timeout", "0").status == 1
    finally:
        banger.sh(vm, "mv /usr/sbin/sshd.away /usr/sbin/sshd")
