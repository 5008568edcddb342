"""``vm cp`` with a real VM."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
from pathlib import Path

import pytest
from vmring import Home, finish, until

#: Its tests leave the home and the VM as they found them: see conftest.
IN_COMMONS = True


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with one of everything that is copied."""
    top = tmp_path / "a tree"
    (top / "deep").mkdir(parents=True)
    (top / "deep" / "a\nfile").write_bytes(os.urandom(3_000_000))
    (top / "deep" / "a\nfile").chmod(0o751)
    Path(os.fsdecode(os.fsencode(top) + b"/\xff\xfe")).write_text("no UTF-8")
    (top / "loop").symlink_to("loop")
    os.utime(top / "deep", ns=(0, 1_000_000_000_000_000_001))
    return top


def test_there_and_back(banger: Home, vm: str, source: Path, tmp_path: Path) -> None:
    copied = banger.ok("vm", "cp", str(source), f"{vm}:")
    assert (copied.out, copied.err) == (b"", "")
    assert banger.sh(vm, "cd '/root/a tree' && stat -c '%a %U' deep/a*; readlink loop; stat -c %Y deep") == (
        "751 root\nloop\n1000000000"
    )
    banger.ok("vm", "cp", f"{vm}:a tree", str(tmp_path / "back"))
    for path in sorted(source.rglob("*")):
        again = tmp_path / "back" / path.relative_to(source)
        one, two = path.lstat(), again.lstat()
        assert (one.st_mode, one.st_mtime_ns) == (two.st_mode, two.st_mtime_ns), path
        if stat.S_ISREG(one.st_mode):
            assert digest(path) == digest(again)
    banger.ok("vm", "cp", f"{source}/.", f"{vm}:/srv")
    banger.sh(vm, "test -d /srv/deep")
    banger.ok("vm", "cp", "--user", "daemon", str(source / "deep" / "a\nfile"), f"{vm}:/var/tmp/owned")
    assert banger.sh(vm, "stat -c %U /var/tmp/owned") == "daemon"


def test_standard_input_and_output(banger: Home, vm: str) -> None:
    content = os.urandom(1_000_000)
    banger.ok("vm", "cp", "-", f"{vm}:/var/tmp/piped", input=content)
    assert banger.ok("vm", "cp", f"{vm}:/var/tmp/piped", "-").out == content
    assert b"PRETTY_NAME" in banger.ok("vm", "cp", f"{vm}:/etc/os-release", "-").out


def test_five_gigabytes_of_hole(banger: Home, vm: str, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with open(big, "wb") as file:
        file.seek(5 * 2**30)
        file.write(b"the end")
    banger.ok("vm", "cp", str(big), f"{vm}:/root/big")
    assert banger.sh(vm, "stat -c %s /root/big; tail -c 7 /root/big") == f"{5 * 2**30 + 7}\nthe end"
    assert int(banger.sh(vm, "stat -c %b /root/big")) < 10_000
    banger.ok("vm", "cp", f"{vm}:big", str(tmp_path / "again"))
    assert (tmp_path / "again").stat().st_size == big.stat().st_size
    assert (tmp_path / "again").stat().st_blocks < 10_000
    banger.sh(vm, "rm /root/big")


def test_what_cannot_be_copied_is_said(banger: Home, vm: str, tmp_path: Path) -> None:
    banger.sh(
        vm, "mkdir -p /var/tmp/odd && cd /var/tmp/odd && mkfifo pipe && mknod null c 1 3 && echo x >file"
    )
    mixed = banger("vm", "cp", f"{vm}:/var/tmp/odd", str(tmp_path / "odd"))
    assert mixed.status == 1
    assert mixed.err.count("devices, pipes and sockets are not copied") == 2
    assert (tmp_path / "odd" / "file").read_text() == "x\n"
    for arguments, message in (
        ((f"{vm}:/none", "x"), "No such file"),
        ((f"{vm}:/dev/null", "x"), "not copied"),
        (("/none", f"{vm}:"), "No such file"),
        (("/dev/null", f"{vm}:"), "not copied"),
        (("/etc/hostname", f"{vm}:/none/x"), "No such file"),
        (("/etc/hostname", f"{vm}:/dev/null"), "neither a file nor a directory"),
        ((f"{vm}:/etc", "-"), "standard output"),
        (("/etc/hostname", "nobody:/x"), "there is no VM 'nobody'"),
    ):
        refused = banger("vm", "cp", *arguments)
        assert refused.status in (1, 2), arguments
        assert message in refused.err and "Traceback" not in refused.err, (arguments, refused.err)
    assert banger("vm", "cp", "/a", "/b").status == 2


def test_a_full_guest_disk(banger: Home, vm: str, tmp_path: Path) -> None:
    banger.sh(vm, "mkdir -p /var/tmp/small && mount -t tmpfs -o size=1m none /var/tmp/small")
    (tmp_path / "large").write_bytes(bytes(range(256)) * 40_000)
    full = banger("vm", "cp", str(tmp_path / "large"), f"{vm}:/var/tmp/small/")
    assert full.status == 1
    assert "in the guest: large: No space left on device" in full.err
    assert banger.sh(vm, "ls -A /var/tmp/small") == ""
    banger.sh(vm, "umount /var/tmp/small")


@pytest.mark.parametrize("to_guest", [True, False])
def test_ctrl_c_leaves_no_half_file(banger: Home, vm: str, tmp_path: Path, to_guest: bool) -> None:
    banger.sh(vm, "mkdir -p /var/tmp/cut && cd /var/tmp/cut && truncate -s 300M zeros && cat zeros >long")
    (tmp_path / "here").mkdir()
    if to_guest:
        process = banger.start("vm", "cp", "-", f"{vm}:/var/tmp/cut/new")  # its input never ends
        assert process.stdin is not None
        process.stdin.write(b"x" * 1_000_000)
        process.stdin.flush()
        until(lambda: ".banger-" in banger.sh(vm, "ls -A /var/tmp/cut"), 30, "the copy did not begin")
    else:
        process = banger.start("vm", "cp", f"{vm}:/var/tmp/cut/long", str(tmp_path / "here" / "new"))
        until(lambda: any((tmp_path / "here").iterdir()), 30, "the copy did not begin")
    process.send_signal(signal.SIGINT)
    result = finish(process, timeout=30)
    assert "Traceback" not in result.err
    assert list((tmp_path / "here").glob(".banger-*")) == []
    until(lambda: ".banger-" not in banger.sh(vm, "ls -A /var/tmp/cut"), 30, "half a file stays in the guest")
    if to_guest:
        assert result.status == 130
        assert banger.sh(vm, "ls -A /var/tmp/cut").split() == ["long", "zeros"]
    banger.sh(vm, "rm -r /var/tmp/cut")


def test_a_vm_that_is_killed_meanwhile(banger: Home, tmp_path: Path) -> None:
    banger.ok("vm", "create", "--name", "brief", "--wait", "agent")
    process = banger.start("vm", "cp", "-", "brief:/var/tmp/new")
    assert process.stdin is not None
    process.stdin.write(b"x" * 1_000_000)
    process.stdin.flush()
    until(lambda: ".banger-" in banger.sh("brief", "ls -A /var/tmp"), 30, "the copy did not begin")
    banger.ok("vm", "kill", "brief")
    result = finish(process, timeout=30)
    assert result.status == 1
    assert "'brief' was stopped: what ran in it has ended" in result.err
    banger.ok("vm", "delete", "brief")
