"""``vm run`` and ``vm exec``: statuses, streams, the environment of a command."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest
from vmring import Home, finish, until

#: Its tests leave the home and the VM as they found them: see conftest.
IN_COMMONS = True

MIB = 1024 * 1024


def test_run_prints_the_guests_kernel_and_removes_the_vm(alone: Home) -> None:
    result = alone.ok("vm", "run", "--rm", "--", "uname", "-r")
    release = alone.ok("kernel", "show", "debian-bookworm", "--json").json["kernel"]["release"]
    assert result.text == release
    assert "spec: 1 vcpu (config) | 512 MiB (config) | 8G disk (default)" in result.err
    alone.assert_clean()


@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_exit_status_of_the_command_is_ours(banger: Home, vm: str, status: int) -> None:
    assert banger.exec(vm, "sh", "-c", f"exit {status}").status == status


@pytest.mark.parametrize("number", [1, 9, 11, 15])
def test_a_command_ended_by_a_signal_gives_128_and_its_number(banger: Home, vm: str, number: int) -> None:
    assert banger.exec(vm, "sh", "-c", f"kill -{number} $$").status == 128 + number


def test_a_command_that_is_not_there_gives_127(banger: Home, vm: str) -> None:
    result = banger.exec(vm, "no-such-program")
    assert (result.status, result.out) == (127, b"")
    assert "no-such-program" in result.err
    assert "Traceback" not in result.err


def test_a_command_that_cannot_run_gives_126(banger: Home, vm: str) -> None:
    assert banger.exec(vm, "/etc/passwd").status == 126


def test_standard_error_is_apart(banger: Home, vm: str) -> None:
    result = banger.exec(vm, "sh", "-c", "echo out; echo err >&2")
    assert (result.out, result.err) == (b"out\n", "err\n")


def test_five_mebibytes_pass_both_ways_unchanged(banger: Home, vm: str) -> None:
    data = os.urandom(5 * MIB)
    assert banger.exec(vm, "cat", input=data, timeout=120).out == data


def test_input_reaches_a_file_unchanged(banger: Home, vm: str) -> None:
    data = bytes(range(256)) * (5 * MIB // 256)
    result = banger.exec(vm, "sha256sum", input=data, timeout=120)
    assert result.text.split()[0] == hashlib.sha256(data).hexdigest()


def test_input_from_a_regular_file_and_from_nowhere(banger: Home, vm: str) -> None:
    with open(__file__, "rb") as file:
        result = finish(banger.start("vm", "exec", vm, "--", "cat", stdin=file), timeout=60)
    with open(__file__, "rb") as file:
        assert result.out == file.read()
    with open(os.devnull, "rb") as file:
        assert finish(banger.start("vm", "exec", vm, "--", "cat", stdin=file), timeout=60).out == b""


def test_output_of_a_command_that_never_reads_its_input(banger: Home, vm: str) -> None:
    assert banger.exec(vm, "echo", "done", input=b"x" * (2 * MIB)).text == "done"


def test_a_slow_reader_holds_up_nobody_else(banger: Home, vm: str) -> None:
    script = "head -c 8388608 /dev/zero; echo end >&2"
    process = banger.start("vm", "exec", vm, "--", "sh", "-c", script, bufsize=0)
    try:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"\0"
        for _ in range(3):
            assert banger.exec(vm, "echo", "quick", timeout=30).text == "quick"
        assert process.poll() is None, "the guest's output was not held back"
        rest = finish(process, timeout=120)
        assert len(rest.out) == 8 * MIB - 1
        assert rest.err == "end\n"
    finally:
        process.kill()


def test_environment_user_and_directory(banger: Home, vm: str) -> None:
    script = 'printf "%s|%s|%s" "$GREETING" "$(id -un)" "$PWD"'
    options = ("--env", "GREETING=good day", "--user", "nobody", "--workdir", "/tmp")
    result = banger("vm", "exec", *options, vm, "--", "sh", "-c", script)
    assert result.out == b"good day|nobody|/tmp"
    assert banger.sh(vm, 'echo "$(id -un) $HOME $PWD"') == "root /root /root"
    result = banger("vm", "exec", "--user", "no-such-user", vm, "--", "true")
    assert result.status == 1
    assert f"there is no user 'no-such-user' in '{vm}'" in result.err and "getent passwd" in result.err
    result = banger("vm", "exec", vm, "--", "echo one word")
    assert result.status == 127 and "sh -c 'echo one word'" in result.err


def test_an_unset_variable_is_refused_before_anything_happens(banger: Home, vm: str) -> None:
    result = banger("vm", "exec", "--env", "SURELY_NOT_SET", vm, "--", "true")
    assert result.status == 2
    assert "SURELY_NOT_SET" in result.err


def test_signals_reach_the_command(banger: Home, vm: str) -> None:
    script = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    process = banger.start("vm", "exec", vm, "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    result = finish(process, timeout=60)
    assert (result.status, result.out) == (7, b"caught\n")


def test_a_client_that_is_killed_takes_its_command_with_it(banger: Home, vm: str) -> None:
    process = banger.start("vm", "exec", vm, "--", "sh", "-c", "echo up; exec sleep 54321")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.kill()
    finish(process)
    until(lambda: banger.exec(vm, "pgrep", "-f", "sleep 5432[1]").status == 1, 30, "the command lives on")


def test_ten_commands_at_once(banger: Home, vm: str) -> None:
    results: list[bytes] = []

    def one(number: int) -> None:
        results.append(banger.exec(vm, "sh", "-c", f"sleep 0.2; echo {number}", timeout=120).out)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(b"%d\n" % number for number in range(10))
