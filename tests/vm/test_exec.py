"""What a command in a VM finds around it, and terminals that are left or lost."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_terminal import Terminal
from vmring import Home, finish, until

#: Its tests leave the home and the VM as they found them: see conftest.
IN_COMMONS = True

Attach = Callable[..., Terminal]


@pytest.fixture
def attach(banger: Home) -> Iterator[Attach]:
    """Open terminals in VMs; they are closed afterwards."""
    terminals: list[Terminal] = []

    def open_terminal(*arguments: str, **size: int) -> Terminal:
        terminals.append(Terminal(banger, *arguments, **size))
        return terminals[-1]

    yield open_terminal
    for terminal in terminals:
        terminal.close()


def test_surroundings(banger: Home, vm: str, tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"# note\nSECRET=hush now\nBYTES=\xff\n")
    banger.env |= {"TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8"}
    try:
        script = (
            "echo $HOME $SHELL $USER $LANG $TZ $SECRET $FLAG; pwd; date +%Z; printf %s $BYTES | od -An -tx1"
        )
        options = ("--env-file", str(tmp_path / "env"), "-e", "FLAG=set")
        done = banger.ok("vm", "exec", *options, vm, "--", "sh", "-c", script)
        assert done.text == "/root /bin/bash root C.UTF-8 Asia/Tokyo hush now set\n/root\nJST\n ff"
        assert "hush" not in (banger.state / "bangerd.log").read_text()
        other = banger.ok(
            "vm", "exec", "-u", "daemon", "-w", "/srv", vm, "--", "sh", "-c", "id -un; pwd; echo $HOME"
        )
        assert other.text == "daemon\n/srv\n/usr/sbin"
        banger.sh(vm, "ln -s C.utf8 /usr/lib/locale/de_DE.utf8")
        assert banger.sh(vm, "echo $LANG") == "de_DE.UTF-8"
        assert banger.ok("vm", "exec", "-e", "LANG=C", vm, "--", "sh", "-c", "echo $LANG").text == "C"
    finally:
        del banger.env["TZ"], banger.env["LANG"]
    assert banger("vm", "exec", "-w", "/none", vm, "--", "true").status == 1
    assert banger("vm", "exec", "-u", "nobody-here", vm, "--", "true").status == 1


def test_arguments_that_are_no_text(banger: Home, vm: str) -> None:
    process = subprocess.run(
        [*banger.program, "vm", "exec", vm, "--", "printf", "%s", b"\xff\xfe"],
        env=banger.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    assert (process.returncode, process.stdout) == (0, b"\xff\xfe"), process.stderr


def test_terminal_types_the_guest_lacks(banger: Home, vm: str, attach: Attach) -> None:
    banger.env["TERM"] = "xterm-from-tomorrow"
    try:
        terminal = attach("vm", "exec", vm, "--", "sh", "-c", "echo is $TERM; tput cols")
        terminal.expect(b"is xterm-256color\r\n100")
    finally:
        banger.env["TERM"] = "xterm-256color"


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (65535, 65535), (0, 0)])
def test_absurd_windows(vm: str, attach: Attach, rows: int, columns: int) -> None:
    terminal = attach("vm", "exec", vm, "--", "sh", "-c", "stty size; echo end", rows=rows, columns=columns)
    shown = terminal.expect(b"end")
    assert (f"{rows} {columns}" if rows else "24 80").encode() in shown


def test_two_at_once_and_leaving_one(banger: Home, vm: str, attach: Attach) -> None:
    one, two = (attach("vm", "exec", vm, "--", "sh") for _ in range(2))
    for terminal, word in ((one, b"first"), (two, b"second")):
        terminal.expect(b"# ")
        terminal.type(b"echo I am the $((1)) " + word + b"\n")
        terminal.expect(b"I am the 1 " + word)
    nap = f"sleep {4711 + uuid.uuid4().int % 10**6}"
    one.type(nap.encode() + b"\n")
    until(lambda: banger.exec(vm, "pgrep", "-xf", nap).status == 0, 20, "the shell did not run it")
    one.type(b"~.")
    one.expect(b"left; sh goes on in shared")
    one.expect(b"shared is still running with 512 MiB; delete it: banger vm delete shared")
    assert one.process.wait(30) == 0
    two.type(b"echo still $((40 + 2))\n")
    two.expect(b"still 42")
    assert banger.exec(vm, "pgrep", "-xf", nap).status == 0
    two.type(b"exit 3\n")
    assert two.process.wait(30) == 3


def test_a_shell_ends_with_what_stays(vm: str, attach: Attach) -> None:
    terminal = attach("vm", "exec", vm)
    terminal.expect(b"# ")
    terminal.type(b"exit\n")
    terminal.expect(b"shared is still running with 512 MiB; delete it: banger vm delete shared")
    assert terminal.process.wait(30) == 0


def test_leaving_keeps_a_vm_that_was_to_go(banger: Home, attach: Attach) -> None:
    terminal = attach("vm", "run", "--rm", "--name", "kept")
    terminal.expect(b"# ", timeout=120)
    terminal.type(b"~.")
    terminal.expect(b"kept is still running")
    assert terminal.process.wait(30) == 0
    assert banger.sh("kept", "echo alive") == "alive"
    banger.ok("vm", "delete", "kept")


@pytest.mark.parametrize(("verb", "said"), [("kill", b"was stopped"), ("delete", b"was deleted")])
def test_a_vm_that_goes_while_attached(banger: Home, attach: Attach, verb: str, said: bytes) -> None:
    banger.ok("vm", "create", "--name", "brief", "--wait", "agent")
    terminal = attach("vm", "exec", "brief", "--", "sh")
    before = terminal.attributes()
    terminal.expect(b"# ")
    waiting = banger.start("vm", "exec", "brief", "--", "sleep", "600")
    until(lambda: banger.exec("brief", "pgrep", "sleep").status == 0, 30, "the command did not begin")
    banger.ok("vm", verb, "brief")
    terminal.expect(said)
    assert terminal.process.wait(30) == 1
    assert terminal.attributes() == before
    result = finish(waiting, timeout=30)
    assert result.status == 1
    assert said.decode() in result.err and "hint: " in result.err
    if verb == "kill":
        banger.ok("vm", "delete", "brief")


def test_a_guest_that_never_reads(banger: Home, vm: str) -> None:
    with banger.start("vm", "exec", vm, "--", "sh", "-c", "sleep 3; echo done") as process:
        assert process.stdin is not None and process.stdout is not None
        os.set_blocking(process.stdin.fileno(), False)
        for _ in range(200):  # more than any window holds
            try:
                os.write(process.stdin.fileno(), bytes(65536))
            except BlockingIOError:
                break
        assert process.stdout.read() == b"done\n"
    assert process.returncode == 0


def test_a_guest_that_floods_who_listens_no_more(banger: Home, vm: str) -> None:
    with banger.start("vm", "exec", vm, "--", "yes") as flood:
        assert flood.stdout is not None and flood.stderr is not None
        flood.stdout.read(1_000_000)
        flood.stdout.close()
        assert b"Traceback" not in flood.stderr.read()
    assert flood.returncode == 141
    until(lambda: banger.exec(vm, "pgrep", "yes").status == 1, 30, "the flood goes on in the guest")


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "0<&- 1>&- 2>&-"])
def test_closed_descriptors(banger: Home, vm: str, closed: str) -> None:
    command = f'"$@" {closed}'
    done = subprocess.run(
        [
            "sh",
            "-c",
            command,
            "sh",
            *banger.program,
            "vm",
            "exec",
            vm,
            "--",
            "sh",
            "-c",
            "cat; echo out; exit 5",
        ],
        env=banger.env,
        capture_output=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode in (5, 1, 141), done
    assert b"Traceback" not in done.stderr
    if closed == "0<&-":
        assert (done.returncode, done.stdout) == (5, b"out\n")
