"""The SDK against real VMs."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from vmring import Home, until

import banger
from banger.errors import ConflictError, GuestError, HostError, NotFoundError, UsageError
from banger.sdk import CommandFailed, Sandbox


@pytest.fixture
def user(alone: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home that this very process lives in."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, alone.env[name])
    return alone


@pytest.fixture
def box(user: Home) -> Iterator[Sandbox]:
    with Sandbox(name="box", publish=["8080"]) as box:
        yield box
    user.assert_clean()


def test_commands_and_files(box: Sandbox, tmp_path: Path) -> None:
    assert box.exec("uname", "-r").text != os.uname().release
    assert box.exec("cat", input=bytes(range(256)) * 4096).stdout == bytes(range(256)) * 4096
    assert box.exec("sh", "-c", "pwd; echo $A; id -un", env={"A": "b c"}, cwd="/tmp", user="nobody").text == (
        "/tmp\nb c\nnobody"
    )
    ended = box.exec("sh", "-c", "echo no >&2; exit 3", check=False)
    assert (ended.status, ended.stdout, ended.stderr) == (3, b"", b"no\n")
    with pytest.raises(CommandFailed, match=r"'sh' ended with status 3: no") as caught:
        box.exec("sh", "-c", "echo no >&2; exit 3")
    assert caught.value.completed == ended
    with pytest.raises(NotFoundError, match="no-such-command"):
        box.exec("no-such-command")
    with pytest.raises(GuestError, match="waited too long"):
        box.exec("sleep", "100", timeout=1)
    until(lambda: box.exec("pgrep", "sleep", check=False).status == 1, 30, "sleep goes on")

    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "file").write_bytes(b"\0\xff" * 1000)
    box.copy_in(tmp_path / "tree", "/srv/")
    box.copy_out("/srv/tree/.", tmp_path / "back")
    assert (tmp_path / "back" / "inner" / "file").read_bytes() == b"\0\xff" * 1000
    with pytest.raises(HostError, match="nowhere"):
        box.copy_in(tmp_path / "nowhere")
    with pytest.raises(GuestError, match="nothing-here"):
        box.copy_out("nothing-here", tmp_path)


def test_a_conversation(box: Sandbox) -> None:
    with box.stream("sh", "-c", "while read line; do echo got $line; done; exit 5") as process:
        process.write(b"one\n")
        assert process.read(timeout=30) == ("stdout", b"got one\n")
        process.write(b"two\n")
        assert process.read(timeout=30) == ("stdout", b"got two\n")
        process.close_input()
        assert process.wait(timeout=30) == 5
        assert process.read() is None
    with box.stream("sleep", "100") as process:
        process.signal(15)
        assert process.wait(timeout=30) == 128 + 15


def test_its_life(box: Sandbox, user: Home) -> None:
    assert banger.Sandbox is Sandbox
    assert [vm["name"] for vm in user.vms()] == ["box"]
    box.exec("sh", "-c", "echo kept > /root/note; echo kept > /etc/note")
    assert box.snapshot("clean") == "clean"  # of a VM that runs
    box.exec("sh", "-c", "rm /root/note; echo later > /etc/note; sync")
    box.stop()
    with pytest.raises(ConflictError, match="stopped"):
        box.exec("true")
    box.restore("clean")
    box.start()
    with Sandbox.attach("box") as same:
        assert same.id == box.id
        assert same.exec("cat", "/root/note", "/etc/note").text == "kept\nkept"
    perl = (
        "$s = IO::Socket::INET->new(LocalPort => 8080, Listen => 1, ReuseAddr => 1);"
        "$c = $s->accept; print $c qq(HTTP/1.0 200 OK\\r\\n\\r\\nhi)"
    )
    with box.stream("perl", "-MIO::Socket", "-e", perl) as process:
        (port,) = box.ports
        assert port.guest == 8080
        until(lambda: "8080" in box.exec("ss", "-ltnH").text, 30, "no server")
        with urllib.request.urlopen(f"http://{port.address}:{port.host}/", timeout=30) as answer:
            assert answer.read() == b"hi"
        assert process.wait(timeout=30) == 0


def test_what_is_refused_leaves_nothing(user: Home) -> None:
    with pytest.raises(NotFoundError, match="no-image"):
        Sandbox("no-image")
    with pytest.raises(UsageError):
        Sandbox(vcpu=0)
    with pytest.raises(NotFoundError):
        Sandbox.attach("nobody")
    user.assert_clean()


@pytest.mark.long
def test_a_process_that_is_killed_leaves_no_sandbox_but_the_one_it_keeps(user: Home) -> None:
    program = (
        "from banger import Sandbox\n"
        "boxes = Sandbox(name='gone'), Sandbox(name='kept', keep=True)\n"
        "print('up', flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=user.env
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert {vm["name"] for vm in user.vms()} == {"gone", "kept"}
        process.kill()
    until(lambda: [vm["name"] for vm in user.vms()] == ["kept"], 60, "the killed process left its VM")
    user.ok("vm", "delete", "kept")
    user.assert_clean()
